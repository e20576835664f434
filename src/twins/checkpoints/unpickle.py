"""Pickles read without running anything of theirs: what is not known to be harmless becomes an inert stub.

A pickle is a program that asks for functions and classes by name and calls them. Here no name is imported: a short list
of them stands for functions of this module, and every other one for a `Stub`, which can be called, filled and built
like the object that it replaces, and does nothing.

A pickle can take what it has made before any number of times, so that a few bytes stand for far more: what is made of
such is counted, and a pickle that makes more than its size explains is refused.
"""

from __future__ import annotations

import argparse
import os
import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any, ClassVar, NamedTuple

import torch
from torch import Tensor


class Stub(dict[Any, Any]):
    """What a pickle says of an object that is not made: its class's name, and the items and attributes it had."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    __hash__ = object.__hash__  # type: ignore[assignment]  # an Enum's member is often a key
    __eq__ = object.__eq__

    def __repr__(self) -> str:
        return f"<{self.name}, not read>"

    def append(self, item: Any) -> None:
        """Does nothing: the items of a list are not kept, those of a dictionary are."""

    def extend(self, items: Any) -> None:
        """Does nothing, likewise."""

    add = append


class _Maker(Stub):
    """A name that a pickle may call, and the function of this module that answers."""

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        super().__init__(name)
        self.make = make


class _StorageType(Stub):
    """`torch.FloatStorage` and the like; the dtype is of the numbers in it."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        super().__init__(name)
        self.dtype = dtype


class _NumpyType(Stub):
    """A NumPy dtype of plain numbers, "f8" or "i4"; `byte_order` is ">" for big-endian ones."""

    byte_order = "<"

    def __init__(self, code: str) -> None:
        super().__init__("numpy.dtype")
        self.code = code


class Storage(NamedTuple):
    """The bytes of one or more tensors, (n,) uint8, and the dtype that they were stored as."""

    data: Tensor
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """How many numbers of its dtype it holds."""
        return self.data.numel() // self.dtype.itemsize


_STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
    }.items()
} | {"torch.storage.UntypedStorage": torch.uint8, "torch.UntypedStorage": torch.uint8}  # fmt: skip

_DTYPES = {f"torch.{name}": found for name, found in vars(torch).items() if isinstance(found, torch.dtype)}

# Plain numbers of NumPy: how `struct` reads one, and the dtype of a tensor of them.
_NUMPY = {
    "f2": ("e", torch.float16), "f4": ("f", torch.float32), "f8": ("d", torch.float64),
    "i1": ("b", torch.int8), "i2": ("h", torch.int16), "i4": ("i", torch.int32), "i8": ("q", torch.int64),
    "u1": ("B", torch.uint8), "u2": ("H", torch.uint16), "u4": ("I", torch.uint32), "u8": ("Q", torch.uint64),
    "b1": ("?", torch.bool),
}  # fmt: skip


# What a pickle may make of things that it has made before, counted as `_extent` does: so many a byte of the file, and
# so many however small it is.
_MADE_A_BYTE = 4
_MADE_AT_LEAST = 100_000
_LARGEST_KEY = 1000  # of a dictionary or a set, counted likewise: each look at it goes through all that is in it


class _BoundedFile:
    """A file of which no more is asked for at once than it has: whoever reads makes room for so many bytes first."""

    def __init__(self, file: IO[bytes]) -> None:
        position = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(position)
        self._read, self.readline = file.read, file.readline

    def read(self, count: int) -> bytes:
        """Raises EOFError for more than there is."""
        if count > self.size:
            raise EOFError("more is asked for than the file has")
        return self._read(count)


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
        bounded = _BoundedFile(file)
        super().__init__(bounded, encoding="latin1")
        self._storage_of = storage_of
        self._left_to_make = _MADE_AT_LEAST + _MADE_A_BYTE * bounded.size
        self.asked_for: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a function or class: never that itself."""
        self._count(len(module) + len(name))
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        full_name = f"{module}.{name}"
        if full_name in _DTYPES:
            return _DTYPES[full_name]
        if full_name in _STORAGES:
            return _StorageType(full_name, _STORAGES[full_name])
        if full_name in _MAKERS:
            return _Maker(full_name, _MAKERS[full_name])
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
        return self._storage_of(kind.dtype, *rest) if isinstance(kind, _StorageType) else Stub(kind.name)

    def get_extension(self, code: int) -> None:
        """Refused: torch.save writes names."""
        raise pickle.UnpicklingError("numbers for classes are not read")

    def _make(self, what: Any, args: tuple[Any, ...]) -> Any:
        """The result of calling what the pickle asked for."""
        if isinstance(what, _Maker):
            self._count(_extent(args, self._left_to_make))
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
        elif isinstance(made, _NumpyType):
            made.byte_order = state[1]
        elif isinstance(made, Stub) and not isinstance(made, _Maker):
            made.update(attributes)
        elif isinstance(made, Tensor) and isinstance(state, tuple) and len(state) == 5:
            self.stack[-1] = _filled(made, *state[1:])

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
            table[_checked_key(key)] = value

    def _add_items(self) -> None:
        items = list(map(_checked_key, self.pop_mark()))
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(items)
        elif not isinstance(self.stack[-1], Stub):
            raise pickle.UnpicklingError("items of what is no set")

    def _frozen_set(self) -> None:
        self.append(frozenset(map(_checked_key, self.pop_mark())))

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


def _extent(value: Any, enough: int) -> int:
    """How much there is to go through in a value: in lists, tuples and sets everything, as often as it is there.

    Of text, bytes and dictionaries the length counts. Beyond `enough` it is counted no further.
    """
    extent, left = 0, [value]
    while left and extent <= enough:
        item = left.pop()
        if isinstance(item, (tuple, list, set, frozenset)):
            if extent + len(item) > enough:
                return extent + len(item)
            left.extend(item)
        elif isinstance(item, (str, bytes, bytearray, dict)):
            extent += len(item)
        extent += 1
    return extent


def _checked_key(key: Any) -> Any:
    """The key of a dictionary or an item of a set. Raises UnpicklingError for one that takes long to look at."""
    if isinstance(key, (tuple, frozenset)) and _extent(key, _LARGEST_KEY) > _LARGEST_KEY:
        raise pickle.UnpicklingError("a key of a dictionary holds too much")
    return key


# What pickles of tensors and plain types call.


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    """A view of a storage, inside its bounds."""
    if not isinstance(storage, Storage):
        return storage  # the stub of a storage of another kind
    size, stride = tuple(size), tuple(stride)
    if any(type(n) is not int or n < 0 for n in (offset, *size, *stride)) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor has an impossible shape")
    if not prod(size):
        return torch.empty(size, dtype=storage.dtype)
    if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= storage.numel:
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    return torch.as_strided(storage.data.view(storage.dtype), size, stride, offset)


def _tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Any:
    if isinstance(storage, Storage) and isinstance(dtype, torch.dtype):
        storage = storage._replace(dtype=dtype)
    return _tensor(storage, offset, size, stride)


def _meta_tensor(dtype: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A shape without numbers, which takes no memory."""
    return torch.empty_strided(tuple(size), tuple(stride), dtype=dtype, device="meta")


def _tensor_of_class(make: Any, kind: Any, args: Any, *_: Any) -> Any:
    """A tensor with attributes, or of a class of its own."""
    known = isinstance(make, _Maker) and getattr(kind, "name", "") in _TENSORS
    return make.make(*args) if known else Stub(getattr(kind, "name", "a tensor of an unknown class"))


def _device(*device: Any) -> Any:
    try:
        return torch.device(*device)
    except RuntimeError:  # of a kind that this PyTorch does not know
        return ":".join(str(part) for part in device if isinstance(part, (str, int)))


def _set(items: Any = ()) -> set[Any]:
    return set(map(_checked_key, items)) if isinstance(items, (list, tuple, set)) else set()


def _dictionary(*_: Any) -> dict[Any, Any]:
    """A defaultdict, say, whose items come afterwards."""
    return {}


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    if isinstance(items, dict):
        return OrderedDict(items)
    pairs = items if isinstance(items, (list, tuple)) else ()
    return OrderedDict((_checked_key(key), value) for key, value in pairs)


def _counter(counts: Any = ()) -> Counter[Any]:
    return Counter(counts) if isinstance(counts, dict) else Counter()


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """The bytes that protocol 2 writes as text; a number, which would ask for so many of them, is none."""
    if isinstance(text, (bytes, bytearray)):
        return bytes(text)
    return text.encode("utf-8" if encoding == "utf-8" else "latin1") if isinstance(text, str) else b""


def _text(text: Any = "", *_: Any) -> str:
    """A string of a class of its own, as PyTorch's version is."""
    return text if isinstance(text, str) else ""


def _numpy_type(code: Any, *_: Any) -> Stub:
    return _NumpyType(code) if code in _NUMPY else Stub("numpy.dtype")


def _numpy_scalar(dtype: Any, raw: Any = b"") -> Any:
    """The plain number."""
    if not isinstance(dtype, _NumpyType):
        return Stub("numpy.generic")
    return struct.unpack(f"{_order(dtype)}{_NUMPY[dtype.code][0]}", _bytes(raw))[0]


def _numpy_array(*_: Any) -> Tensor:
    """An array of NumPy's becomes a tensor, which `_filled` fills."""
    return torch.empty(0)


def _numpy_array_of(buffer: Any, dtype: Any, shape: Any, order: Any = "C") -> Tensor | Stub:
    return _filled(torch.empty(0), shape, dtype, order == "F", buffer)


def _filled(tensor: Tensor, shape: Any, dtype: Any, columns_first: Any, raw: Any) -> Tensor | Stub:
    """The tensor, now of this shape, NumPy dtype and content; a stub for an array of anything but numbers."""
    if not isinstance(dtype, _NumpyType) or not isinstance(raw, (bytes, bytearray, str)):
        return Stub("numpy.ndarray")
    raw, shape = _bytes(raw if isinstance(raw, str) else bytes(raw)), tuple(shape)
    numbers = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    numbers = numbers.view(_NUMPY[dtype.code][1])
    if _order(dtype) == ">":
        numbers.untyped_storage().byteswap(numbers.dtype)
    if columns_first:
        tensor.data = numbers.reshape(shape[::-1]).permute(*reversed(range(len(shape))))
    else:
        tensor.data = numbers.reshape(shape)
    return tensor


def _order(dtype: _NumpyType) -> str:
    return ">" if dtype.byte_order == ">" else "<"


_TENSORS = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter")

_MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta_tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._tensor._rebuild_from_type": _tensor_of_class,
    "torch._tensor._rebuild_from_type_v2": _tensor_of_class,
    "torch.Size": lambda size=(): torch.Size(size),
    "torch.device": _device,
    "torch.serialization._get_layout": _text,
    "torch.torch_version.TorchVersion": _text,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _dictionary,
    "collections.Counter": _counter,
    "builtins.dict": _dictionary,
    "builtins.set": _set,
    "builtins.frozenset": lambda items=(): frozenset(_set(items)),
    "builtins.complex": complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": lambda *args: bytearray(_bytes(*args)),
    "_codecs.encode": _bytes,
    "argparse.Namespace": lambda *_: argparse.Namespace(),
}
for _core in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
    _MAKERS[f"{_core}.multiarray.scalar"] = _numpy_scalar
    _MAKERS[f"{_core}.multiarray._reconstruct"] = _numpy_array
    _MAKERS[f"{_core}.numeric._frombuffer"] = _numpy_array_of
_MAKERS["numpy.dtype"] = _numpy_type
# Paths are read as pure ones, which exist on every system and never touch the disk.
for _pure in (PurePosixPath, PureWindowsPath):
    for _name in (_pure.__name__, _pure.__name__.removeprefix("Pure")):
        for _module in ("pathlib", "pathlib._local"):  # _local: Python 3.13
            _MAKERS[f"{_module}.{_name}"] = _pure
