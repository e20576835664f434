"""Pickles that call what they should not, written opcode by opcode, and those that grow far beyond their size."""

from __future__ import annotations

import pickle
import random
import struct
from collections.abc import Callable

from .sandbox import CANARY

_PROTOCOL = b"\x80\x02"
# (module, name, arguments) of what runs something; the canary is a file, and is part of all code.
_CALLS: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("os", "system", (f"touch {CANARY}",)),
    ("posix", "system", (f"touch {CANARY}",)),
    ("subprocess", "Popen", (["touch", CANARY],)),
    ("subprocess", "check_output", (["touch", CANARY],)),
    ("builtins", "exec", (f"open('{CANARY}', 'w')",)),
    ("builtins", "eval", (f"open('{CANARY}', 'w')",)),
    ("__builtin__", "eval", (f"open('{CANARY}', 'w')",)),
    ("builtins", "compile", (f"open('{CANARY}', 'w')", "a", "exec")),
    ("builtins", "open", (CANARY, "w")),
    ("builtins", "getattr", ("a", "__class__")),
    ("builtins", "__import__", (CANARY,)),
    ("io", "open", (CANARY, "w")),
    ("os", "mkdir", (CANARY,)),
    ("shutil", "rmtree", ("/tmp/nothing-there",)),
    ("importlib", "import_module", (CANARY,)),
    ("runpy", "run_path", (CANARY,)),
    ("pathlib", "Path", (CANARY,)),
    ("socket", "create_connection", (("127.0.0.1", 9),)),
    ("webbrowser", "open", ("http://127.0.0.1/",)),
    ("urllib.request", "urlopen", ("http://127.0.0.1:9/",)),
    ("torch", "load", (CANARY,)),
    ("torch.hub", "load", ("a/b", "c")),
    ("torch.jit", "load", (CANARY,)),
    ("torch.utils.cpp_extension", "load_inline", ("a", "b")),
    ("torch._utils", "_rebuild_tensor_v2", (1, 2, 3)),
    ("torch._dynamo", "reset", ()),
    ("torch.storage", "_load_from_bytes", (b"\x80\x02cposix\nsystem\n",)),
    ("numpy", "load", (CANARY,)),
    ("numpy.f2py", "compile", (CANARY,)),
    ("pickle", "loads", (b"\x80\x02cposix\nsystem\n",)),
    ("copyreg", "_reconstructor", (1, 2, 3)),
    ("operator", "attrgetter", ("__class__.__base__",)),
    ("functools", "partial", (print, "a")),
    ("types", "FunctionType", ("a", {})),
    ("ctypes", "CDLL", ("libc.so.6",)),
    ("twins.checkpoints.unpickle", "Unpickler", ()),
    ("argparse", "Namespace", ()),
    ("collections", "OrderedDict", (((1, 2, 3),),)),
    ("collections", "Counter", (("a", 1),)),
    ("builtins", "complex", ("1e999",)),
    ("builtins", "bytes", (2**40,)),
    ("builtins", "bytearray", (2**40,)),
    ("builtins", "set", (2**40,)),
    ("torch", "Size", ((-1, 2**62),)),
    ("torch", "device", ("cuda:99",)),
    ("torch", "Generator", ()),
    ("pathlib", "PosixPath", ("..", "/etc")),
    ("numpy", "dtype", ("O8", False, True)),
    ("numpy.core.multiarray", "scalar", (1, b"\xff")),
    ("numpy.core.multiarray", "_reconstruct", (1, (0,), b"b")),
    ("_codecs", "encode", ("a" * 100, "rot13")),
)


def value(item: object) -> bytes:
    """The opcodes that push a plain value."""
    if isinstance(item, (list, tuple, dict, str, bytes, int, float, bool)) or item is None:
        return pickle.dumps(item, 2)[2:-1]
    return b"c__builtin__\nprint\n"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _stack_global(module: str, name: str) -> bytes:
    return value(module) + value(name) + b"\x93"


def _reduce(module: str, name: str, args: bytes) -> bytes:
    return _global(module, name) + args + b"R"


def _stacked_reduce(module: str, name: str, args: bytes) -> bytes:
    return _stack_global(module, name) + args + b"R"


def _inst(module: str, name: str, args: bytes) -> bytes:
    return b"(" + args + f"i{module}\n{name}\n".encode()


def _obj(module: str, name: str, args: bytes) -> bytes:
    return b"(" + _global(module, name) + args + b"o"


def _newobj(module: str, name: str, args: bytes) -> bytes:
    return _global(module, name) + args + b"\x81"


def _newobj_ex(module: str, name: str, args: bytes) -> bytes:
    return _global(module, name) + args + b"}\x92"


def _build(module: str, name: str, args: bytes) -> bytes:
    """The call as the state of an object, and the object's `__setstate__` the function."""
    state = b"}" + value("__setstate__") + _global(module, name) + b"s"
    return _global("argparse", "Namespace") + b")R" + state + b"b" + args + b"b"


def _setitem(module: str, name: str, args: bytes) -> bytes:
    return _global(module, name) + b")R" + value("a") + args + b"s"


def _append(module: str, name: str, args: bytes) -> bytes:
    return _global(module, name) + b")R" + args + b"a"


def _persistent(module: str, name: str, args: bytes) -> bytes:
    return b"(" + value("storage") + _reduce(module, name, args) + value("0") + value("cpu") + value(4) + b"tQ"


def _persistent_text(module: str, name: str, args: bytes) -> bytes:
    return b"P" + CANARY.encode() + b"\n"


def _extension(module: str, name: str, args: bytes) -> bytes:
    return b"\x82\x01" + args + b"R"


def _through_memo(module: str, name: str, args: bytes) -> bytes:
    return _global(module, name) + b"q\x07" + b"0" + args + b"q\x08" + b"0" + b"h\x07h\x08R"


def _as_key(module: str, name: str, args: bytes) -> bytes:
    return b"}" + _reduce(module, name, args) + b"Ns"


def _of_a_tensor(module: str, name: str, args: bytes) -> bytes:
    return _reduce("torch._tensor", "_rebuild_from_type_v2", b"(" + _global(module, name) * 2 + args + b"}t")


def _of_a_maker(module: str, name: str, args: bytes) -> bytes:
    return _reduce("collections", "OrderedDict", b"(" + b"(" + _reduce(module, name, args) + b"tt")


_WAYS: tuple[Callable[[str, str, bytes], bytes], ...] = (
    _reduce, _stacked_reduce, _inst, _obj, _newobj, _newobj_ex, _build, _setitem, _append, _persistent,
    _persistent_text, _extension, _through_memo, _as_key, _of_a_tensor, _of_a_maker,
)  # fmt: skip


def calling_pickle(rng: random.Random, weights: bytes = b"") -> bytes:
    """One that calls something by one of many opcodes; `weights` are opcodes of a state dict to hide it beside."""
    module, name, args = rng.choice(_CALLS)
    way = rng.choice(_WAYS)
    packed = value(args)
    if way in (_inst, _obj):
        packed = b"".join(map(value, args))
    call = way(module, name, packed)
    if weights and rng.random() < 0.7:
        return _PROTOCOL + b"}(" + value("model") + weights + value("extra") + call + b"u."
    return _PROTOCOL + call + b"."


def _many(times: int, opcodes: bytes) -> bytes:
    return b"](" + opcodes * times + b"e"


def growing_pickle(rng: random.Random, weights: bytes = b"") -> bytes:
    """One whose content is far larger, deeper or slower to handle than the pickle itself."""
    times = rng.choice((50, 1000, 10_000))
    big = rng.choice((10_000, 300_000))
    memo = b"r\x00\x01\x00\x00"  # LONG_BINPUT 256
    get = b"j\x00\x01\x00\x00"
    text = b"X" + struct.pack("<I", big) + b"a" * big
    items = _many(big // 10, b"K\x01K\x01\x86")
    doubled = b"K\x01" + b"2\x86" * min(times, 60)
    nested = b"K\x01" + b"\x85" * times * 30
    growth = rng.choice(
        (
            b"}" + doubled + b"Ns",  # a tuple of 2^60 as a key: its hash
            b"}" + nested + b"Ns",  # a tuple a million deep as a key
            b"]" + doubled + b"a",
            nested,
            b"]" * times * 10 + b"a" * (times * 10 - 1),
            b"}" + (value("a") + b"}") * times * 3 + b"s" * (times * 3),
            items + memo + b"0" + _many(times, _global("collections", "OrderedDict") + get + b"\x85R"),
            items + memo + b"0" + _many(times, _global("builtins", "set") + get + b"\x85R"),
            text + memo + b"0" + _many(times, get + get + b"\x93"),
            text + memo + b"0" + _many(times, _global("_codecs", "encode") + get + value("latin1") + b"\x86R"),
            text + memo + b"0" + _many(times, _global("pathlib", "PurePosixPath") + get + b"\x85R"),
            text + memo + b"0" + _many(times, _global("builtins", "bytearray") + get + value("latin1") + b"\x86R"),
            b"\x96" + struct.pack("<Q", rng.choice((2**20, 2**33, 2**40, 2**62))) + b"a",  # BYTEARRAY8
            b"\x8e" + struct.pack("<Q", rng.choice((2**33, 2**40, 2**62))) + b"a",  # BINBYTES8
            b"\x8d" + struct.pack("<Q", rng.choice((2**33, 2**40, 2**62))) + b"a",  # BINUNICODE8
            b"\x95" + struct.pack("<Q", rng.choice((2**33, 2**40, 2**62))) + b"N",  # FRAME
            b"\x8b" + struct.pack("<i", rng.choice((2**31 - 1, -1))) + b"\xff" * 10,  # LONG4
            b"I" + b"9" * big + b"\n",
            b"L" + b"9" * big + b"L\n",
            b"I0x" + b"f" * big + b"\n",
            b"K\x01" + b"2" * times * 30,
            b"(" * times * 30 + b"t" * times,
            b"p" + b"9" * 300 + b"\n",
            b"Nr\xff\xff\xff\xff",
            items + memo + b"0" + _many(times, _global("argparse", "Namespace") + b")R" + get + b"b"),
            b"}" + _many(big // 10, b"N")[:-1] + b"u" if rng.random() < 0.5 else b"\x8f" + _many(9, b"N"),
            b"](" + text + memo + get * times * 30 + b"e",
            b"]" + memo + (b"(" + get * 30 + b"e") * times,  # a list of itself
            b"}" + memo + value("model") + get + b"s",  # a dictionary in itself
        )
    )
    if rng.random() < 0.5:
        return _PROTOCOL + b"}(" + value("model") + (weights or b"}") + value("meta") + growth + b"u."
    return _PROTOCOL + growth + b"."


def pickled_tensor(rng: random.Random | None = None) -> bytes:
    """Opcodes of a tensor (4, 6) of storage "0", 24 float32; with `rng` one to three of its properties are odd."""
    odd = (0, 1, 2, 3, 5, 6, 7, 23, 24, 25, -1, 2**31, 2**40, 2**62, 2**63, 0.5, None, "a", True)
    properties: dict[str, object] = {"offset": 0, "size": (4, 6), "stride": (6, 1), "claimed": 24, "key": "0"}
    kind, maker = "FloatStorage", rng.choice(("_v2", "_v2", "_v3", "")) if rng else "_v2"
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3)) if rng else 0):
        assert rng is not None
        name = rng.choice(("offset", "size", "size", "stride", "stride", "claimed", "key", "kind"))
        if name == "kind":
            kind = rng.choice(("LongStorage", "UntypedStorage", "QUInt8Storage", "ComplexDoubleStorage", "ByteStorage"))
        elif name in ("size", "stride"):
            properties[name] = tuple(rng.choice(odd) for _ in range(rng.choice((2, 2, 2, 0, 1, 3, 70))))
        else:
            properties[name] = rng.choice(odd)
    where = value(properties["key"]) + value("cpu") + value(properties["claimed"])
    storage = b"(" + value("storage") + _global("torch", kind) + where + b"tQ"
    shape = value(properties["offset"]) + value(properties["size"]) + value(properties["stride"])
    last = _global("torch", rng.choice(("int8", "float64", "uint4", "load"))) if rng and maker == "_v3" else b""
    return _reduce("torch._utils", f"_rebuild_tensor{maker}", b"(" + storage + shape + b"\x89" + b"}" + last + b"t")
