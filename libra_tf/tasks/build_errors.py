"""What fails while a detector is built, with the settings that it may come from.

Each setting has its range and what contradicts is refused before; this is for what
slips through, mostly parts of Model Garden that do not fit each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from official.modeling import hyperparams

from libra_tf.errors import UserError

_MOST_SETTINGS = 12
_ABSENT = object()


@contextlib.contextmanager
def named_build_errors(model: hyperparams.Config) -> Iterator[None]:
    """Names the settings of a model that are not the defaults of its kind.

    Args:
        model: `task.model`.

    Raises:
        UserError: it could not be built, and there are such settings.
    """
    try:
        yield
    except (UserError, MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        # The kinds of parts first: it is mostly one of them.
        found = sorted(
            _changed(model.as_dict(), type(model)().as_dict()),
            key=lambda setting: not setting[0].endswith(".type"),
        )
        changed = [f"{key} = {value!r}" for key, value in found]
        if not changed:
            raise
        more = len(changed) - _MOST_SETTINGS
        told = ", ".join(changed[:_MOST_SETTINGS]) + (f" and {more} more" * (more > 0))
        line = next(iter(str(error).splitlines()), "")[:200]
        raise UserError(
            f"the detector cannot be built ({type(error).__name__}: {line}); mend one "
            f"of the settings that are not as usual: {told}"
        ) from error


def _changed(
    now: Mapping[str, Any], default: Mapping[str, Any], path: str = "task.model"
) -> Iterator[tuple[str, Any]]:
    for key, value in now.items():
        usual = default.get(key, _ABSENT)
        if isinstance(value, Mapping):
            known = usual if isinstance(usual, Mapping) else {}
            yield from _changed(value, known, f"{path}.{key}")
        elif usual is not _ABSENT and value != usual:
            yield f"{path}.{key}", value
