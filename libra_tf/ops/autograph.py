"""Tracing of code that is plain TensorFlow already."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

Class = TypeVar("Class", bound=type)


def without_autograph(*methods: str) -> Callable[[Class], Class]:
    """Returns a class decorator: what these methods call is traced as it is written.

    No `if` and no loop on a tensor is in our code or in what it calls of Model Garden,
    so a conversion changes nothing but the time of the first step.

    Args:
        methods: names of methods, of the class or inherited.
    """

    def decorate(owner: Class) -> Class:
        for name in methods:
            method = getattr(owner, name)
            setattr(owner, name, tf.autograph.experimental.do_not_convert(method))
        return owner

    return decorate
