"""Looks up the shapes of a state_dict, and says which weight is at fault."""

from __future__ import annotations

import re
from collections.abc import Mapping

from libra_tf.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]
# More digits than that are no number of a layer.
_DIGITS = 4


class ShapeReader:
    """Shapes by name.

    Args:
        shapes: of the weights.
        source: the file, for messages.
    """

    def __init__(self, shapes: Shapes, source: str):
        self.shapes, self.source = shapes, source

    def refuse(self, text: str) -> UserError:
        """Returns the error that names the file."""
        return UserError(f"{self.source}: {text}")

    def names(self, pattern: str) -> list[str]:
        """Names that begin as the regular expression."""
        return [name for name in self.shapes if re.match(pattern, name)]

    def count(self, pattern: str) -> int:
        """One more than the highest number that the pattern finds."""
        matches = (re.match(pattern, name) for name in self.shapes)
        found = [match[1] for match in matches if match]
        numbers = [int(digits) for digits in found if len(digits) <= _DIGITS]
        return 1 + max(numbers, default=-1)

    def size(self, *places: tuple[str, int]) -> int:
        """Size of the first of (weight, axis) that is there."""
        for name, axis in places:
            if name in self.shapes:
                shape = self.shapes[name]
                if len(shape) <= axis or shape[axis] < 1:
                    raise self.refuse(f"{name} has the shape {shape}")
                return shape[axis]
        raise self.refuse(f"{places[0][0]} is missing")

    def outputs(self, layer: str) -> int:
        """Channels that a layer gives."""
        return self.size((f"{layer}.weight", 0), (f"{layer}.bias", 0))

    def divide(self, layer: str, number: int, divisor: int) -> int:
        """Returns the quotient of a layer's number; refuses a remainder."""
        if number % divisor:
            raise self.refuse(f"{layer}: {number} is not a multiple of {divisor}")
        return number // divisor
