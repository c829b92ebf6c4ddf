"""Reads a pickle as data: nothing that it names is imported, and nothing is called.

Python's `pickle` is a program for a small machine that may call any function. Here the
machine knows plain values and the few constructors that the caller gives; an object of
any other class becomes an `Inert`, so that weights can be read beside the settings and
histories that were saved with them.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any

from libra_tf.torch_files.budget import Budget
from libra_tf.torch_files.inert_values import PickleError
from libra_tf.torch_files.pickle_machine import Machine

# What a damaged or hostile pickle makes the parser and the machine raise.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def read_pickle(
    source: Any,
    constructors: Mapping[str, Callable[..., Any]],
    persistent: Callable[[Any], Any],
    budget: Budget,
) -> Any:
    """Returns the value of the pickle that starts at the position of `source`.

    Args:
        source: bytes, or a binary file such as an `mmap`, which stands behind the
            pickle afterwards.
        constructors: what stands for a call, by "module name" of the callee; each
            takes the budget before its arguments.
        persistent: what stands for a persistent id.
        budget: of this pickle, and of others in the same file.

    Raises:
        PickleError: it is damaged, not a pickle, or beyond the budget.
    """
    machine = Machine(constructors, persistent, budget)
    try:
        for opcode, argument, _ in pickletools.genops(source):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except _DAMAGE as error:
        text = " ".join(str(error).split())[:200]
        raise PickleError(text or type(error).__name__) from error
    raise PickleError("it has no end")
