"""Names of folders that TensorFlow takes for patterns."""

from __future__ import annotations

import os

from libra_tf.errors import UserError


def refuse_patterns(folder: str | os.PathLike) -> None:
    """Refuses a folder in which TensorFlow would look for another's checkpoints."""
    refuse_signs(folder, "*?[", "TensorFlow finds no checkpoints in")


def refuse_signs(folder: str | os.PathLike, signs: str, who: str) -> None:
    """Refuses a folder with one of some characters in its path.

    Args:
        folder: its path.
        signs: the characters.
        who: cannot do what there, for the message.

    Raises:
        UserError: there is one.
    """
    if any(sign in os.fspath(folder) for sign in signs):
        raise UserError(
            f"{folder}: {who} a folder with one of the characters {' '.join(signs)} in "
            "its path; rename it"
        )
