"""Reads a pickle as data: nothing that it names is imported, and nothing is called.

Python's `pickle` is a program for a small machine that may call any function. Here the
machine knows plain values and the few constructors that the caller gives; an object of
any other class becomes an `Inert`, so that a checkpoint can be read beside the settings
and histories that were saved with it.
"""

from __future__ import annotations

import dataclasses
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any

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
_SCALARS = (str, bytes, int, float, complex, bool, type(None))


class PickleError(ValueError):
    """A pickle that is damaged, cut short or no pickle."""


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that a pickle refers to: "module name"; it is never looked up."""

    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Inert:
    """Stands for an object of a class that is not known; its content is gone."""

    name: str


class _Mark:
    """The object that MARK puts on the stack."""


_MARK = _Mark()


def read_pickle(
    source: Any,
    constructors: Mapping[str, Callable[..., Any]],
    persistent: Callable[[Any], Any],
) -> Any:
    """Returns the value of the pickle that starts at the position of `source`.

    Args:
        source: bytes, or a binary file such as an `mmap`, which stands behind the
            pickle afterwards.
        constructors: what stands for a call, by "module name" of the callee.
        persistent: what stands for a persistent id.

    Raises:
        PickleError: it is damaged, or not a pickle.
    """
    machine = _Machine(constructors, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(source):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except _DAMAGE as error:
        text = " ".join(str(error).split())[:200]
        raise PickleError(text or type(error).__name__) from error
    raise PickleError("it has no end")


class _Machine:
    """A stack, a memo, and one method for each group of instructions."""

    def __init__(self, constructors, persistent):
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.constructors, self.persistent = constructors, persistent

    def step(self, name: str, argument: Any) -> None:
        """Does one instruction; `argument` is the one in the pickle."""
        if name in _PUSHES:
            self.stack.append(argument)
        elif name in _VALUES:
            self.stack.append(_VALUES[name]())
        elif name in _IGNORED:
            return
        else:
            method = getattr(self, f"do_{name.lower()}", None)
            if method is None:
                raise PickleError(f"instruction {name} is not part of a checkpoint")
            method(argument)

    def _marked(self) -> list[Any]:
        """Takes what lies above the last mark, and the mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise PickleError("a mark is missing")

    def do_mark(self, _):
        self.stack.append(_MARK)

    def do_pop(self, _):
        self.stack.pop()

    def do_pop_mark(self, _):
        self._marked()

    def do_dup(self, _):
        self.stack.append(self.stack[-1])

    def do_memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def do_put(self, place):
        self.memo[int(place)] = self.stack[-1]

    do_binput = do_long_binput = do_put

    def do_get(self, place):
        self.stack.append(self.memo[int(place)])

    do_binget = do_long_binget = do_get

    def do_tuple(self, _):
        self.stack.append(tuple(self._marked()))

    def do_tuple1(self, _):
        self.stack[-1:] = [(self.stack[-1],)]

    def do_tuple2(self, _):
        self.stack[-2:] = [tuple(self._last(2))]

    def do_tuple3(self, _):
        self.stack[-3:] = [tuple(self._last(3))]

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise PickleError("the stack is empty")
        return self.stack[-count:]

    def do_list(self, _):
        self.stack.append(self._marked())

    do_frozenset = do_list

    def do_dict(self, _):
        values, content = self._marked(), {}
        _set(content, values)
        self.stack.append(content)

    def do_append(self, _):
        _extend(self.stack, [self.stack.pop()])

    def do_appends(self, _):
        values = self._marked()
        _extend(self.stack, values)

    do_additems = do_appends

    def do_setitem(self, _):
        values = self._last(2)
        del self.stack[-2:]
        _set(self.stack[-1], values)

    def do_setitems(self, _):
        values = self._marked()
        _set(self.stack[-1], values)

    def do_global(self, name):
        self.stack.append(Global(name))

    def do_stack_global(self, _):
        module, name = self._last(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PickleError("the name of a class is no text")
        self.stack[-2:] = [Global(f"{module} {name}")]

    def do_reduce(self, _):
        callee, arguments = self._last(2)
        self.stack[-2:] = [self._construct(callee, arguments)]

    do_newobj = do_reduce

    def do_newobj_ex(self, _):
        callee, arguments, _ = self._last(3)
        self.stack[-3:] = [self._construct(callee, arguments)]

    def do_inst(self, name):
        self.stack.append(self._construct(Global(name), tuple(self._marked())))

    def do_obj(self, _):
        callee, *arguments = self._marked()
        self.stack.append(self._construct(callee, tuple(arguments)))

    def do_build(self, _):
        # The attributes of an object: of a state_dict those are its `_metadata`.
        self._last(2)
        self.stack.pop()

    def do_binpersid(self, _):
        self.stack.append(self.persistent(self.stack.pop()))

    do_persid = do_global

    def _construct(self, callee: Any, arguments: Any) -> Any:
        if not isinstance(callee, Global):
            return Inert("an unknown object")
        constructor = self.constructors.get(callee.name)
        if constructor is None:
            return Inert(callee.name.replace(" ", "."))
        if not isinstance(arguments, tuple):
            raise PickleError(f"{callee.name} without arguments")
        return constructor(*arguments)


def _extend(stack: list[Any], values: list[Any]) -> None:
    target = stack[-1]
    if isinstance(target, list):
        target.extend(values)
    elif not isinstance(target, Inert):
        raise PickleError(f"values are added to a {type(target).__name__}")


def _set(target: Any, values: list[Any]) -> None:
    if len(values) % 2:
        raise PickleError("a key without value")
    if isinstance(target, Inert):
        return
    if not isinstance(target, dict):
        raise PickleError(f"entries are set in a {type(target).__name__}")
    for key, value in zip(values[::2], values[1::2], strict=True):
        # Hashing nested tuples could take for ever.
        target[key if isinstance(key, _SCALARS) else Inert("a key")] = value


# Instructions whose argument is the value.
_PUSHES = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT",
    "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8",
))  # fmt: skip
_VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple,
}
_IGNORED = frozenset(("PROTO", "FRAME"))
