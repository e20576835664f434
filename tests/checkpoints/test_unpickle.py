"""Whatever rides along in a checkpoint, its tensors are read, and nothing of the rest is made or run."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import enum
import functools
import io
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from twins.checkpoints.pickle_stand_ins import Stub
from twins.checkpoints.read import read_checkpoint
from twins.checkpoints.unpickle import Unpickler, stubs_in
from twins.errors import TwinsError

WEIGHTS = {"norm.weight": torch.arange(6.0).reshape(2, 3).t(), "head.bias": torch.tensor([1.5], dtype=torch.bfloat16)}
ran: list[str] = []


class Scheduler:
    """An object of somebody's own class, which says when any of its code runs."""

    def __init__(self) -> None:
        self.step = 3

    def __setstate__(self, state: Any) -> None:
        ran.append("setstate")


class Config(dict):  # type: ignore[type-arg]
    """A dictionary of somebody's own class."""


class Phase(enum.Enum):
    TRAINING = 1


def run_something(*_: Any) -> None:
    ran.append("called")


class Caller:
    def __reduce__(self) -> tuple[Any, ...]:
        return run_something, (1,)


PASSENGERS: dict[str, Any] = {
    "object": Scheduler(),
    "config": Config(model=Config(type="SVT")),
    "enum": Phase.TRAINING,
    "keyed by an enum": {Phase.TRAINING: 1},
    "call": Caller(),
    "partial": functools.partial(print, "x"),
    "date": datetime.datetime(2021, 4, 28, 12, 0),
    "generator": np.random.default_rng(0),
    "rng": random.Random(0),
    "deque": collections.deque([1, 2], maxlen=3),
    "defaultdict": collections.defaultdict(list, {"loss": [1.0]}),
    "type": Scheduler,
    "function": run_something,
    "objects": np.array([None, "x"], dtype=object),
    "module": torch.nn.Linear(1, 1),
}


@pytest.mark.parametrize("what", PASSENGERS)
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 5}], ids=str)
def test_passengers_do_not_make_a_file_unreadable(tmp_path: Path, what: str, options: dict[str, Any]) -> None:
    torch.save({"state_dict": WEIGHTS, "extra": PASSENGERS[what]}, tmp_path / "a.pth", **options)
    ran.clear()
    read = read_checkpoint(tmp_path / "a.pth")
    assert ran == []
    assert {name: tensor.dtype for name, tensor in read["state_dict"].items()} == {
        "norm.weight": torch.float32,
        "head.bias": torch.bfloat16,
    }
    assert all(torch.equal(read["state_dict"][name], tensor) for name, tensor in WEIGHTS.items())


def test_what_was_not_made_is_listed_with_its_attributes(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "a": [Scheduler()], "b": (Phase.TRAINING,), "c": Config(x=1)}, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    assert stubs_in(read) == tuple(f"{__name__}.{name}" for name in ("Config", "Phase", "Scheduler"))
    assert dict(read["a"][0]) == {"step": 3}
    assert dict(read["c"]) == {"x": 1}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 5}], ids=str)
def test_numbers_of_numpy_and_plain_types(tmp_path: Path, options: dict[str, Any]) -> None:
    content = {
        "model": WEIGHTS,
        "scalars": [np.float64(81.25), np.float32(0.5), np.int64(-3), np.uint8(7), np.bool_(True)],
        "arrays": [
            np.arange(6, dtype=np.float32).reshape(2, 3),
            np.asfortranarray(np.arange(6).reshape(2, 3)),
            np.array([1, 2], dtype=">i4"),
            np.zeros((0, 3), dtype=np.float16),
            np.array(5.0),
        ],
        "version": torch.__version__,
        "counter": collections.Counter(a=2),
        "ordered": collections.OrderedDict(a=1),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "complex": 1 + 2j,
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "args": argparse.Namespace(lr=1e-3),
    }
    torch.save(content, tmp_path / "a.pth", **options)
    read = read_checkpoint(tmp_path / "a.pth")
    assert read["scalars"] == [81.25, 0.5, -3, 7, True]
    assert [type(value) for value in read["scalars"]] == [float, float, int, int, bool]
    for tensor, array in zip(read["arrays"], content["arrays"], strict=True):
        expected = torch.from_numpy(np.asarray(array, array.dtype.newbyteorder("=")))
        assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype)
        assert torch.equal(tensor, expected)
    assert read["version"] == str(torch.__version__)
    assert type(read["version"]) is str
    for plain in ("counter", "ordered", "set", "bytes", "complex", "device", "size", "args"):
        assert read[plain] == content[plain]
    assert stubs_in(read) == ()


def test_tensors_of_every_kind_of_storage(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "view": base[1, :, ::2],
        "same storage": base[0],
        "expanded": torch.ones(1).expand(3, 2),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.0),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        **{str(t): torch.ones(3).to(t) for t in (torch.float16, torch.float64, torch.int8, torch.bool, torch.uint16)},
        "float8": torch.ones(3).to(torch.float8_e4m3fn),
        "complex": torch.ones(2) + 1j,
    }
    for zipped in (True, False):
        torch.save(tensors, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        read = read_checkpoint(tmp_path / "a.pth")
        for name, tensor in tensors.items():
            assert read[name].dtype == tensor.dtype
            assert torch.equal(read[name].to(torch.complex64), tensor.detach().to(torch.complex64)), name
        assert read["view"].stride() == tensors["view"].stride()
        assert read["view"].untyped_storage().data_ptr() == read["same storage"].untyped_storage().data_ptr()


# Files that ask for what they should not get


def archive(pickled: bytes, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    """A zip archive such as torch.save writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        for name, content in entries.items():
            file.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def tensor_of(size: int, stride: int, claimed: int) -> bytes:
    """A pickle of {"a": a tensor} over a storage that claims so many numbers."""
    number = lambda n: b"\x8a\x08" + struct.pack("<q", n)  # noqa: E731
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + number(claimed) + b"tQ"
    shape = number(size) + b"\x85" + number(stride) + b"\x85"
    return b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00" + shape + b"tRs."


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return b"\x80\x02}X\x01\0\0\0a" + f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tRs."


def again(once: bytes, before: bytes, after: bytes, protocol: int = 2) -> bytes:
    """A file of a list of 20,000 things, each made of the same first one."""
    return archive(b"\x80" + bytes([protocol]) + once + b"q\x000](" + (before + b"h\x00" + after) * 20_000 + b"e.")


BOMBS = {
    "bytearray": archive(called("builtins", "bytearray", b"\x8a\x05" + (2**33).to_bytes(5, "little"))),
    "bytes of a list": archive(called("builtins", "bytes", b"]K\xff" + b"a")),
    "a long opcode": archive(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"."),
    "an array's opcode": archive(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"."),
    "a frame": archive(b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"."),
    "a far place in the memo": archive(b"\x80\x02}r\xff\xff\xff\xff."),
    "a storage larger than its entry": archive(tensor_of(4, 1, 2**40), **{"data/0": bytes(16)}),
    "a tensor larger than its storage": archive(tensor_of(2**40, 1, 4), **{"data/0": bytes(16)}),
    "a negative stride": archive(tensor_of(2, -1, 4), **{"data/0": bytes(16)}),
    "a negative storage": archive(tensor_of(1, 1, -4), **{"data/0": bytes(16)}),
    "a missing storage": archive(tensor_of(4, 1, 4)),
    "a compressed one": archive(tensor_of(4, 1, 4), zipfile.ZIP_DEFLATED, **{"data/0": bytes(16)}),
    "an extension": archive(b"\x80\x02}\x82\x01s."),
    "a call of a string": archive(b"\x80\x02}X\x01\0\0\0aX\x01\0\0\0b)Rs."),
    "an array of the memory there is": archive(b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"."),
    "a key of 2^60 numbers": archive(b"\x80\x02}K\x01" + b"2\x86" * 60 + b"Ns."),
    "a key in a set": archive(b"\x80\x04\x8f(K\x01" + b"2\x86" * 60 + b"\x90."),
    "a key in a frozen set": archive(b"\x80\x04(K\x01" + b"2\x86" * 60 + b"\x91."),
    "a key in an ordered dictionary": archive(
        called("collections", "OrderedDict", b"(K\x01" + b"2\x86" * 60 + b"N\x86t")
    ),
    "a key a million deep": archive(b"\x80\x02}K\x01" + b"\x85" * 10**6 + b"Ns."),
    "a storage of a key of 2^60 numbers": archive(
        b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nK\x01" + b"2\x86" * 60 + b"X\x03\0\0\0cpuK\x04tQ."
    ),
    "a list taken as a set again and again": again(b"](" + b"K\x01K\x02" * 5000 + b"e", b"cbuiltins\nset\n", b"\x85R"),
    "text that is bytes again and again": again(
        b"X" + struct.pack("<I", 10**5) + b"a" * 10**5, b"cbuiltins\nbytearray\n", b"X\x06\0\0\0latin1\x86R"
    ),
    "a name of 200,000 letters again and again": again(
        b"X" + struct.pack("<I", 10**5) + b"a" * 10**5, b"h\x00", b"\x93", protocol=4
    ),
    "a state again and again": again(
        b"}(" + b"".join(b"X\x04\0\0\0%04dN" % i for i in range(5000)) + b"u", b"cargparse\nNamespace\n)R", b"b"
    ),
}


@pytest.mark.parametrize("what", BOMBS)
@pytest.mark.timeout(20)
def test_files_get_no_more_memory_than_their_own_size(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.pth").write_bytes(BOMBS[what])
    verdict = "is cut short or damaged|holds no weights|is a compressed zip archive, which torch.save never writes"
    with pytest.raises(TwinsError, match=f"^{tmp_path}/a.pth ({verdict})") as refused:
        read_checkpoint(tmp_path / "a.pth")
    assert not isinstance(refused.value.__cause__, MemoryError)


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A directory may say of any number of entries that they lie in the same place."""
    sound = archive(tensor_of(4, 1, 4), **{f"data/{i}": bytes(4096) for i in range(4)})
    (tmp_path / "a.pth").write_bytes(sound.replace(b"data/0", b"data/0", 1))
    assert_damaged = pytest.raises(TwinsError, match="is cut short or damaged")
    directory = sound.index(b"PK\x01\x02")
    entries = sound[directory:].split(b"PK\x01\x02")
    grown = sound[:directory] + b"PK\x01\x02".join(
        e if b"data/" not in e else e[:16] + struct.pack("<2I", 2**20, 2**20) + e[24:] for e in entries
    )
    (tmp_path / "a.pth").write_bytes(grown)
    with assert_damaged:
        read_checkpoint(tmp_path / "a.pth")


def test_no_name_is_ever_a_function_or_class() -> None:
    unpickler = Unpickler(io.BytesIO())
    for module, name in (("os", "system"), ("builtins", "eval"), ("torch", "load"), ("builtins", "getattr"),
                         ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch", "Tensor"),
                         ("no.such.module", "Thing")):  # fmt: skip
        assert isinstance(unpickler.find_class(module, name), Stub)
    assert unpickler.find_class("torch", "float32") is torch.float32
    assert unpickler.asked_for == ["os.system", "builtins.eval", "torch.load", "builtins.getattr", "torch.Tensor",
                                   "no.such.module.Thing"]  # fmt: skip


def test_attributes_cannot_be_set_on_what_a_pickle_calls(tmp_path: Path) -> None:
    """BUILD on a class or function would change it for everybody."""
    state = b"}X\x04\0\0\0makeX\x01\0\0\0bs"
    (tmp_path / "a.pth").write_bytes(archive(b"\x80\x02ccollections\nOrderedDict\n" + state + b"b."))
    with pytest.raises(TwinsError, match="holds no weights"):
        read_checkpoint(tmp_path / "a.pth")
    torch.save(collections.OrderedDict(WEIGHTS), tmp_path / "b.pth")
    assert list(read_checkpoint(tmp_path / "b.pth")) == list(WEIGHTS)


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_and_garbled_files_are_read_or_refused(tmp_path: Path, zipped: bool) -> None:
    buffer = io.BytesIO()
    torch.save({"model": WEIGHTS, "epoch": 3}, buffer, _use_new_zipfile_serialization=zipped)
    sound, generator = buffer.getvalue(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(sound)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        end = generator.choice([len(damaged), generator.randrange(len(damaged))])
        (tmp_path / "a.pth").write_bytes(damaged[:end])
        with contextlib.suppress(TwinsError):
            assert isinstance(read_checkpoint(tmp_path / "a.pth"), dict)


def test_the_original_pickle_would_have_run(tmp_path: Path) -> None:
    """That `Caller` does something where it is opened carelessly."""
    ran.clear()
    pickle.loads(pickle.dumps(Caller()))  # noqa: S301
    assert ran == ["called"]
