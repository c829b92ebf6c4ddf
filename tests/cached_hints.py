"""Type hints of Model Garden's settings, read once for each class.

Model Garden evaluates all hints of a class at every assignment to a field: most of the
time of loading an experiment, which the tests do thousands of times.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable


def install() -> None:
    """Keeps what `typing.get_type_hints(cls)` returned, which stays the same."""
    read: Callable = typing.get_type_hints
    kept = functools.cache(read)

    @functools.wraps(read)
    def hints(of, *args, **kwargs):
        if args or kwargs or not isinstance(of, type):
            return read(of, *args, **kwargs)
        return dict(kept(of))

    typing.get_type_hints = hints
