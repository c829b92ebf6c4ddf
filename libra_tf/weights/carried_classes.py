"""Class predictors that are taken over by the names of their classes.

A checkpoint has no names: of a detector of other classes, or of the same in another
order, the weights of one class would be taken for another's.

Shape shorthand in this module: G groups of outputs (anchors), C classes, V values of
one class.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

_WEIGHT = r"(/\d+)?/(kernel|pointwise_kernel|bias)"
# Of Model Garden's detectors; `class_score` is residual objectness', of objects only.
_SCORES = re.compile(
    rf"(detection_|mask_|)head(/\d+)?/_(classifier|mask_regressor){_WEIGHT}"
)
_OBJECTS = re.compile(
    r"(detection_|)head(/\d+)?/_classifier(/\d+)?/class_score/(kernel|bias)"
)
_DELTAS = re.compile(rf"detection_head(/\d+)?/_box_regressor{_WEIGHT}")


@dataclasses.dataclass(frozen=True)
class CarriedClasses:
    """Classes of a checkpoint and of the detector that starts from it.

    Attributes:
        before: name at the position of each class id, of the checkpoint; 0 is the
            background, a gap is empty.
        now: the same, of the detector.
    """

    before: Sequence[str]
    now: Sequence[str]

    @property
    def are_known(self) -> bool:
        """Whether the checkpoint tells its names."""
        return any(self.before[1:])

    @property
    def differ(self) -> bool:
        """Whether both are known, and a class has another place or is in one only."""
        both = list(self.before[1:]), list(self.now[1:])
        return all(both) and both[0] != both[1]

    def places(self) -> list[tuple[int, int]]:
        """Id before and now of the background and of each class of both."""
        ids = {name: i for i, name in enumerate(self.before) if i and name}
        shared = [(ids[n], i) for i, n in enumerate(self.now) if i and n in ids]
        return [(0, 0), *shared]

    def concerns(self, name: str) -> bool:
        """Whether a weight, by its path below the parts of a detector, has classes."""
        return _form(name) is not None

    def carry(
        self, name: str, saved: np.ndarray, start: np.ndarray
    ) -> np.ndarray | None:
        """Returns `start` with what `saved` has of the classes of both.

        Args:
            name: of a weight that it concerns.
            saved: [..., G * C * V], of the checkpoint.
            start: [..., G * C * V], initial value.

        Returns:
            None where it does not fit.
        """
        values, first = _form(name) or (1, 0)
        if saved.shape[:-1] != start.shape[:-1]:
            return None
        old = _by_class(saved, len(self.before) - first, values)
        new = _by_class(start.copy(), len(self.now) - first, values)
        if old is None or new is None or old.shape[:-2] != new.shape[:-2]:
            return None
        for source, target in self.places():
            if source >= first:
                new[..., target - first, :] = old[..., source - first, :]
        return new.reshape(start.shape)

    def __str__(self) -> str:
        if not self.are_known:
            return (
                "classes: by position, since the checkpoint does not tell their names"
            )
        kept = {self.now[i] for _, i in self.places()[1:]}
        new = [name for name in self.now[1:] if name and name not in kept]
        parts = [f"{shorten(sorted(kept), 5)} by name"] if kept else []
        return "classes: " + ", ".join(
            parts + ([f"{shorten(new, 5)} new"] if new else [])
        )


def _form(name: str) -> tuple[int, int] | None:
    """Values of one class, and the id of the first class that has some."""
    if _SCORES.fullmatch(name):
        return 1, 0
    if _DELTAS.fullmatch(name):
        return 4, 0
    return (1, 1) if _OBJECTS.fullmatch(name) else None


def _by_class(array: np.ndarray, classes: int, values: int) -> np.ndarray | None:
    """[..., G * C * V] -> [..., G, C, V]; None for another size."""
    if classes < 1 or array.shape[-1] % (classes * values):
        return None
    return array.reshape(*array.shape[:-1], -1, classes, values)


def shorten(names: Sequence[str], most: int = 3) -> str:
    """Returns the first names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
