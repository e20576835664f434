"""Pickles read without running anything of theirs: what is not known to be harmless becomes an inert stub.

A pickle is a program that asks for functions and classes by name and calls them. Here no name is imported: a short list
of them has stand-ins (`pickle_stand_ins`), and every other one is a `Stub`, which can be called, filled and built like
the object that it replaces, and does nothing. What is made is bounded (`pickle_bounds`).
"""

from __future__ import annotations

import argparse
import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, ClassVar

from torch import Tensor

from .pickle_bounds import MADE_A_BYTE, MADE_AT_LEAST, BoundedFile, checked_key, extent_of
from .pickle_stand_ins import DTYPES, MAKERS, STORAGES, Maker, NumpyType, Storage, StorageType, Stub, filled


class Unpickler(pickle._Unpickler):
    """Reads one pickle of a file that torch.save wrote; `storage_of` brings the bytes that a tensor asks for.

    `asked_for` lists the names that became stubs. Nothing on the stack is ever a function or class of Python's, so that
    there is nothing to run. `load` raises what malformed pickles make it raise.
    """

    stack: list[Any]
    append: Callable[[Any], None]  # to the stack
    pop_mark: Callable[[], list[Any]]  # what is on the stack above the last mark
    read: Callable[[int], bytes]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes], storage_of: Callable[..., Storage] | None = None) -> None:
        bounded = BoundedFile(file)
        super().__init__(bounded, encoding="latin1")
        self._storage_of = storage_of
        self._left_to_make = MADE_AT_LEAST + MADE_A_BYTE * bounded.size
        self.asked_for: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a function or class: never that itself."""
        self._count(len(module) + len(name))
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        full_name = f"{module}.{name}"
        if full_name in DTYPES:
            return DTYPES[full_name]
        if full_name in STORAGES:
            return StorageType(full_name, STORAGES[full_name])
        if full_name in MAKERS:
            return Maker(full_name, MAKERS[full_name])
        self.asked_for.append(full_name)
        return Stub(full_name)

    def persistent_load(self, saved_id: Any) -> Any:
        """The storage that a tensor is a view of; of a module's class, which comes with its source, the stub."""
        if isinstance(saved_id, tuple) and len(saved_id) == 4 and saved_id[0] == "module":
            return saved_id[1]
        if self._storage_of is None or not isinstance(saved_id, tuple) or len(saved_id) < 5 or saved_id[0] != "storage":
            raise pickle.UnpicklingError("only storages are kept beside the pickle")
        kind, *rest = saved_id[1:]
        if not isinstance(rest[0], (str, int)):
            raise pickle.UnpicklingError("a storage is known by text or a number")
        return self._storage_of(kind.dtype, *rest) if isinstance(kind, StorageType) else Stub(kind.name)

    def get_extension(self, code: int) -> None:
        """Refused: torch.save writes names."""
        raise pickle.UnpicklingError("numbers for classes are not read")

    def _make(self, what: Any, args: tuple[Any, ...]) -> Any:
        """The result of calling what the pickle asked for."""
        if isinstance(what, Maker):
            self._count(extent_of(args, self._left_to_make))
            return what.make(*args)
        if isinstance(what, Stub):
            return Stub(what.name)
        raise pickle.UnpicklingError(f"a {type(what).__name__} is called")

    def _count(self, made: int) -> None:
        """Raises UnpicklingError where more is made by now than the size of the file explains."""
        self._left_to_make -= made
        if self._left_to_make < 0:
            raise pickle.UnpicklingError("far more is made than the file holds")

    def _reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._make(self.stack[-1], args)

    def _new(self) -> None:
        args, what = self.stack.pop(), self.stack.pop()
        self.append(self._make(what, args))

    def _new_with_keywords(self) -> None:
        self.stack.pop()
        self._new()

    def _instantiate(self, klass: Any, args: Any) -> None:  # of the opcodes INST and OBJ
        self.append(self._make(klass, tuple(args)))

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        parts = state if isinstance(state, tuple) else (state,)
        self._count(len(parts) + sum(len(part) for part in parts if isinstance(part, (dict, str, bytes, bytearray))))
        attributes = {k: v for part in parts for k, v in _items(part)}
        if isinstance(made, argparse.Namespace):
            vars(made).update(attributes)
        elif isinstance(made, NumpyType):
            made.byte_order = state[1]
        elif isinstance(made, Stub) and not isinstance(made, Maker):
            made.update(attributes)
        elif isinstance(made, Tensor) and isinstance(state, tuple) and len(state) == 5:
            self.stack[-1] = filled(made, *state[1:])

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def _setitems(self) -> None:
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def _dictionary(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(self.stack[-1], items)

    @staticmethod
    def _fill(table: Any, items: list[Any]) -> None:
        """Key, value, key, value ... into a dictionary."""
        if not isinstance(table, dict) or len(items) % 2:
            raise pickle.UnpicklingError(f"items of a {type(table).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            table[checked_key(key)] = value

    def _add_items(self) -> None:
        items = list(map(checked_key, self.pop_mark()))
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(items)
        elif not isinstance(self.stack[-1], Stub):
            raise pickle.UnpicklingError("items of what is no set")

    def _frozen_set(self) -> None:
        self.append(frozenset(map(checked_key, self.pop_mark())))

    def _byte_array(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))

    dispatch[pickle.SETITEM[0]] = _setitem
    dispatch[pickle.SETITEMS[0]] = _setitems
    dispatch[pickle.DICT[0]] = _dictionary
    dispatch[pickle.ADDITEMS[0]] = _add_items
    dispatch[pickle.FROZENSET[0]] = _frozen_set
    dispatch[pickle.BYTEARRAY8[0]] = _byte_array
    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.NEWOBJ_EX[0]] = _new_with_keywords
    dispatch[pickle.BUILD[0]] = _build


def stubs_in(value: Any) -> tuple[str, ...]:
    """The names of the classes whose objects were not made, wherever they are in what an `Unpickler` read."""
    names: dict[str, None] = {}
    seen, left = set(), [value]
    while left:
        item = left.pop()
        if id(item) in seen or not isinstance(item, (Mapping, list, tuple, set, argparse.Namespace)):
            continue
        seen.add(id(item))
        if isinstance(item, Stub):
            names[item.name] = None
        if isinstance(item, argparse.Namespace):
            item = vars(item)
        if isinstance(item, Mapping):
            left += item.keys()
        left += item.values() if isinstance(item, Mapping) else item
    return tuple(sorted(names))


def _items(state: Any) -> Iterable[tuple[str, Any]]:
    return ((k, v) for k, v in state.items() if isinstance(k, str)) if isinstance(state, dict) else ()
