"""What fails while a detector is built, with the settings that it may come from.

Each setting has its range and what contradicts is refused before; this is for what
slips through, mostly parts of Model Garden that do not fit each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from official.modeling import hyperparams

from libra_tf.errors import UserError, cause_of
from libra_tf.experiments.fields import Field, walk

_MOST_SETTINGS = 12
_PATH = "task.model."


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
        found = sorted(_changed(model), key=lambda field: field.name != "type")
        changed = [f"{field.path} = {field.value!r}" for field in found]
        if not changed:
            raise
        more = len(changed) - _MOST_SETTINGS
        told = ", ".join(changed[:_MOST_SETTINGS]) + (f" and {more} more" * (more > 0))
        line = cause_of(error)[:200]
        raise UserError(
            f"the detector cannot be built ({type(error).__name__}: {line}); mend one "
            f"of the settings that are not as usual: {told}"
        ) from error


def _changed(model: hyperparams.Config) -> list[Field]:
    usual = {field.path: field.value for field in walk(type(model)(), _PATH)}
    return [
        field
        for field in walk(model, _PATH, chosen_only=True)
        if not field.is_section
        and field.path in usual
        and field.value != usual[field.path]
    ]
