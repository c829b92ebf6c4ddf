"""How much a pickle may make of the file that it is in.

A few bytes of a pickle can copy a list of a hundred thousand entries, and do so again
and again. What a checkpoint needs is in proportion to its tensors: some forty
instructions for each, which describe hundreds of numbers.
"""

from __future__ import annotations

from libra_tf.torch_files.inert_values import PickleError

# Five thousand tensors, or settings and histories of a megabyte.
FREE = 250_000
# One instruction for sixteen numbers of four bytes.
BYTES_PER_UNIT = 64


class Budget:
    """Counts instructions, and entries and text that they copy or compare.

    A unit is one of them and takes at most some hundred bytes, so a pickle stays below
    `FREE` of these and a few times the size of its file.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int):
        self.spent = 0
        self._most = FREE + size // BYTES_PER_UNIT
        self._size = size

    def spend(self, units: int = 1) -> None:
        """Takes units; raises `PickleError` once there are none left."""
        self.spent += units
        if self.spent > self._most:
            raise PickleError(
                f"its pickle makes more than {self._most} objects and copies, which no "
                f"checkpoint of {self._size} bytes needs"
            )
