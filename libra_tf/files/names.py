"""Names of folders that TensorFlow takes for patterns."""

from __future__ import annotations

import os

from libra_tf.errors import UserError

_SIGNS = "*?["


def refuse_patterns(folder: str | os.PathLike) -> None:
    """Refuses a folder in which TensorFlow would look for another's checkpoints.

    Raises:
        UserError: there is a sign of a pattern in the name.
    """
    if any(sign in os.fspath(folder) for sign in _SIGNS):
        raise UserError(
            f"{folder}: TensorFlow finds no checkpoints in a folder with one of the "
            f"characters {' '.join(_SIGNS)} in its path; rename it"
        )
