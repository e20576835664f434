"""What stands for the functions and classes that pickles of tensors and plain types ask for by name.

None of them is what it stands for: an object of a class that is not known to be harmless becomes a `Stub`.
"""

from __future__ import annotations

import argparse
import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .pickle_bounds import checked_key


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


class Maker(Stub):
    """A name that a pickle may call, and the function of this module that answers."""

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        super().__init__(name)
        self.make = make


class StorageType(Stub):
    """`torch.FloatStorage` and the like; the dtype is of the numbers in it."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        super().__init__(name)
        self.dtype = dtype


class NumpyType(Stub):
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


STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64,
    }.items()
} | {"torch.storage.UntypedStorage": torch.uint8, "torch.UntypedStorage": torch.uint8}  # fmt: skip

DTYPES = {f"torch.{name}": found for name, found in vars(torch).items() if isinstance(found, torch.dtype)}

# Plain numbers of NumPy: how `struct` reads one, and the dtype of a tensor of them.
_NUMPY = {
    "f2": ("e", torch.float16), "f4": ("f", torch.float32), "f8": ("d", torch.float64),
    "i1": ("b", torch.int8), "i2": ("h", torch.int16), "i4": ("i", torch.int32), "i8": ("q", torch.int64),
    "u1": ("B", torch.uint8), "u2": ("H", torch.uint16), "u4": ("I", torch.uint32), "u8": ("Q", torch.uint64),
    "b1": ("?", torch.bool),
}  # fmt: skip


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
    known = isinstance(make, Maker) and getattr(kind, "name", "") in _TENSORS
    return make.make(*args) if known else Stub(getattr(kind, "name", "a tensor of an unknown class"))


def _device(*device: Any) -> Any:
    try:
        return torch.device(*device)
    except RuntimeError:  # of a kind that this PyTorch does not know
        return ":".join(str(part) for part in device if isinstance(part, (str, int)))


def _set(items: Any = ()) -> set[Any]:
    return set(map(checked_key, items)) if isinstance(items, (list, tuple, set)) else set()


def _dictionary(*_: Any) -> dict[Any, Any]:
    """A defaultdict, say, whose items come afterwards."""
    return {}


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    if isinstance(items, dict):
        return OrderedDict(items)
    pairs = items if isinstance(items, (list, tuple)) else ()
    return OrderedDict((checked_key(key), value) for key, value in pairs)


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
    return NumpyType(code) if code in _NUMPY else Stub("numpy.dtype")


def _numpy_scalar(dtype: Any, raw: Any = b"") -> Any:
    """The plain number."""
    if not isinstance(dtype, NumpyType):
        return Stub("numpy.generic")
    return struct.unpack(f"{_order(dtype)}{_NUMPY[dtype.code][0]}", _bytes(raw))[0]


def _numpy_array(*_: Any) -> Tensor:
    """An array of NumPy's becomes a tensor, which `filled` fills."""
    return torch.empty(0)


def _numpy_array_of(buffer: Any, dtype: Any, shape: Any, order: Any = "C") -> Tensor | Stub:
    return filled(torch.empty(0), shape, dtype, order == "F", buffer)


def filled(tensor: Tensor, shape: Any, dtype: Any, columns_first: Any, raw: Any) -> Tensor | Stub:
    """The tensor, now of this shape, NumPy dtype and content; a stub for an array of anything but numbers."""
    if not isinstance(dtype, NumpyType) or not isinstance(raw, (bytes, bytearray, str)):
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


def _order(dtype: NumpyType) -> str:
    return ">" if dtype.byte_order == ">" else "<"


_TENSORS = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter")

MAKERS: dict[str, Callable[..., Any]] = {
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
    MAKERS[f"{_core}.multiarray.scalar"] = _numpy_scalar
    MAKERS[f"{_core}.multiarray._reconstruct"] = _numpy_array
    MAKERS[f"{_core}.numeric._frombuffer"] = _numpy_array_of
MAKERS["numpy.dtype"] = _numpy_type
# Paths are read as pure ones, which exist on every system and never touch the disk.
for _pure in (PurePosixPath, PureWindowsPath):
    for _name in (_pure.__name__, _pure.__name__.removeprefix("Pure")):
        for _module in ("pathlib", "pathlib._local"):  # _local: Python 3.13
            MAKERS[f"{_module}.{_name}"] = _pure
