"""The machine that a pickle is a program for, without the power to call anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from libra_tf.torch_files.budget import Budget
from libra_tf.torch_files.inert_values import (
    Global,
    Inert,
    PickleError,
    as_key,
    key_cost,
)


class _Mark:
    """The object that MARK puts on the stack."""


_MARK = _Mark()


class Machine:
    """A stack, a memo, and one method for each group of instructions."""

    def __init__(
        self,
        constructors: Mapping[str, Callable[..., Any]],
        persistent: Callable[[Any], Any],
        budget: Budget,
    ):
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.constructors, self.persistent = constructors, persistent
        self.budget = budget

    def step(self, name: str, argument: Any) -> None:
        """Does one instruction; `argument` is the one in the pickle.

        Raises:
            PickleError: no checkpoint has this instruction here.
        """
        self.budget.spend()
        if name in _PUSHES:
            self.stack.append(argument)
        elif name in _VALUES:
            self.stack.append(_VALUES[name]())
        elif name in _IGNORED:
            return
        else:
            method = getattr(self, f"_do_{name.lower()}", None)
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

    def _do_mark(self, _):
        self.stack.append(_MARK)

    def _do_pop(self, _):
        self.stack.pop()

    def _do_pop_mark(self, _):
        self._marked()

    def _do_dup(self, _):
        self.stack.append(self.stack[-1])

    def _do_memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def _do_put(self, place):
        # Pickles number what they keep; numbers of one's choice can make a dict slow.
        if int(place) > self.budget.spent:
            raise PickleError(f"place {place} of its memo is out of reach")
        self.memo[int(place)] = self.stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_get(self, place):
        self.stack.append(self.memo[int(place)])

    _do_binget = _do_long_binget = _do_get

    def _do_tuple(self, _):
        self.stack.append(tuple(self._marked()))

    def _do_tuple1(self, _):
        self.stack[-1:] = [(self.stack[-1],)]

    def _do_tuple2(self, _):
        self.stack[-2:] = [tuple(self._last(2))]

    def _do_tuple3(self, _):
        self.stack[-3:] = [tuple(self._last(3))]

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise PickleError("the stack is empty")
        return self.stack[-count:]

    def _do_list(self, _):
        self.stack.append(self._marked())

    _do_frozenset = _do_list

    def _do_dict(self, _):
        values = self._marked()
        content: dict[Any, Any] = {}
        self._set(content, values)
        self.stack.append(content)

    def _do_append(self, _):
        _extend(self.stack, [self.stack.pop()])

    def _do_appends(self, _):
        values = self._marked()
        _extend(self.stack, values)

    _do_additems = _do_appends

    def _do_setitem(self, _):
        values = self._last(2)
        del self.stack[-2:]
        self._set(self.stack[-1], values)

    def _do_setitems(self, _):
        values = self._marked()
        self._set(self.stack[-1], values)

    def _do_global(self, name):
        self.stack.append(Global(name))

    def _do_stack_global(self, _):
        module, name = self._last(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PickleError("the name of a class is no text")
        self.stack[-2:] = [Global(f"{module} {name}")]

    def _do_reduce(self, _):
        callee, arguments = self._last(2)
        self.stack[-2:] = [self._construct(callee, arguments)]

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _):
        callee, arguments, _ = self._last(3)
        self.stack[-3:] = [self._construct(callee, arguments)]

    def _do_inst(self, name):
        self.stack.append(self._construct(Global(name), tuple(self._marked())))

    def _do_obj(self, _):
        callee, *arguments = self._marked()
        self.stack.append(self._construct(callee, tuple(arguments)))

    def _do_build(self, _):
        # The attributes of an object: of a state_dict those are its `_metadata`.
        self._last(2)
        self.stack.pop()

    def _do_binpersid(self, _):
        self.stack.append(self.persistent(self.stack.pop()))

    _do_persid = _do_global

    def _construct(self, callee: Any, arguments: Any) -> Any:
        if not isinstance(callee, Global):
            return Inert("an unknown object")
        constructor = self.constructors.get(callee.name)
        if constructor is None:
            return Inert(callee.name.replace(" ", "."))
        if not isinstance(arguments, tuple):
            raise PickleError(f"{callee.name} without arguments")
        # They may be kept in the memo, and copied over and over.
        self.budget.spend(len(arguments))
        return constructor(self.budget, *arguments)

    def _set(self, target: Any, values: list[Any]) -> None:
        if len(values) % 2:
            raise PickleError("a key without value")
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict):
            raise PickleError(f"entries are set in a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.budget.spend(key_cost(key))
            target[as_key(key)] = value


def _extend(stack: list[Any], values: list[Any]) -> None:
    target = stack[-1]
    if isinstance(target, list):
        target.extend(values)
    elif not isinstance(target, Inert):
        raise PickleError(f"values are added to a {type(target).__name__}")


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
