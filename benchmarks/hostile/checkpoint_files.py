"""Hostile checkpoints: crafted pickles, archives and headers, fields of odd types, and valid files that are mutated."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save

import twins
from twins.checkpoints.info import read_info
from twins.checkpoints.read import read_checkpoint
from twins.checkpoints.weights import state_dict_of
from twins.hub.saving import save_pretrained
from twins.predict.loading import load_predictor
from twins.preprocessing import ClassifyPreprocessing

from .mutation import mutated_bytes, mutated_json, odd_text, odd_value
from .pickles import calling_pickle, growing_pickle, pickled_tensor, value
from .sandbox import Attempt, Kind

_NETWORK = {"embed_dims": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "mlp_ratios": (1, 1, 1, 1)}
_CLASSES = ("ant", "bee", "cat")


class Files(NamedTuple):
    """Valid ones, by what they are."""

    checkpoint: dict[str, Any]
    archive: bytes
    legacy: bytes
    safetensors: bytes
    config: dict[str, Any]  # of the folder that `safetensors` is from
    foreign: bytes  # an archive without meta
    foreign_safetensors: bytes  # without a digest


def prepare(folder: Path) -> Files:
    model = twins.create_model("twins_svt_small", num_classes=len(_CLASSES), **_NETWORK)
    meta = {
        "task": "classify",
        "name": "twins_svt_small",
        "create_model": {**_NETWORK, "num_classes": len(_CLASSES)},
        "classes": list(_CLASSES),
        "preprocessing": ClassifyPreprocessing(img_size=32).to_dict(),
        "recipe": {"name": "tiny", "img_size": 32, "task": "classify"},
        "split": {"val": ["a.jpg"], "images": 10},
    }
    checkpoint = {
        "format": 1,
        "model": model.state_dict(),
        "epoch": 1,
        "step": 5,
        "optimizer": {"state": {}, "param_groups": [{"params": [0], "lr": 0.1}]},
        "args": {"name": "tiny"},
        "meta": meta,
    }
    torch.save(checkpoint, folder / "archive.pth")
    torch.save(checkpoint, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": model.state_dict()}, folder / "foreign.pth")
    save_pretrained(model, folder / "hub", classes=_CLASSES)
    return Files(
        checkpoint,
        (folder / "archive.pth").read_bytes(),
        (folder / "legacy.pth").read_bytes(),
        (folder / "hub" / "model.safetensors").read_bytes(),
        json.loads((folder / "hub" / "config.json").read_text(encoding="utf-8")),
        (folder / "foreign.pth").read_bytes(),
        save(model.state_dict()),
    )


def _use(path: Path) -> None:
    """As `twins predict` does: what it is, and its network with its weights, where it says which that is."""
    info = read_info(path)
    if info.model is not None:
        load_predictor(info, device="cpu")


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _in_a_file(rng: random.Random, pickled: bytes) -> bytes:
    """A pickle as an archive, as a file from before 1.6, or bare."""
    match rng.randrange(4):
        case 0:
            magic = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
            rest = pickle.dumps(torch.serialization.PROTOCOL_VERSION, 2) + pickle.dumps({"little_endian": True}, 2)
            return magic + rest + pickled + pickle.dumps([], 2)
        case 1:
            return pickled
        case _:
            return _zipped({"a/data.pkl": pickled, "a/data/0": bytes(96), "a/version": b"3"})


def pickles(rng: random.Random, files: Files, folder: Path) -> Attempt:
    tensor = b"}" + value("head.weight") + pickled_tensor() + b"s"
    make = rng.choice((calling_pickle, calling_pickle, growing_pickle))
    return partial(_use, _written(folder, "hostile.pth", _in_a_file(rng, make(rng, rng.choice((b"", tensor))))))


def tensors(rng: random.Random, files: Files, folder: Path) -> Attempt:
    """Strides, offsets and sizes out of bounds."""
    items = b"".join(value(f"blocks.{i}.w") + pickled_tensor(rng) for i in range(rng.choice((0, 0, 2))))
    pickled = b"\x80\x02}(" + value("patch_embeds.0.proj.weight") + pickled_tensor(rng) + items + b"u."
    return partial(_look_at_numbers, _written(folder, "hostile.pth", _in_a_file(rng, pickled)))


def _look_at_numbers(path: Path) -> None:
    """Every number of every tensor, which a view out of bounds would not survive."""
    for tensor in state_dict_of(read_checkpoint(path)).values():
        if tensor.numel() < 10**6:
            with suppress(NotImplementedError):  # of dtypes that nothing is computed in
                tensor.to(torch.complex128).sum()
    _use(path)


def archives(rng: random.Random, files: Files, folder: Path) -> Attempt:
    """Zip files whose directory lies: bombs, entries over each other, sizes and names of another file."""
    pickled = b"\x80\x02}" + value("a") + pickled_tensor() + b"s."
    entries = {"a/data.pkl": pickled, "a/data/0": bytes(96), "a/byteorder": rng.choice((b"little", b"big", b"\xff"))}
    match rng.randrange(8):
        case 0:  # a bomb
            compression, most = rng.choice(
                ((zipfile.ZIP_DEFLATED, 10**8), (zipfile.ZIP_BZIP2, 10**7), (zipfile.ZIP_LZMA, 10**7))
            )
            entries["a/data/0"] = bytes(rng.choice((10**6, most)))
            content = _zipped(entries, compression)
        case 1:  # names that lead out of the folder
            content = _zipped({f"{_odd_name(rng)}/{name}": data for name, data in entries.items()})
        case 2:  # many entries
            content = _zipped(entries | {f"a/data/{i}": b"" for i in range(rng.choice((1000, 5000)))})
        case 3:
            content = _zipped({"a/constants.pkl": pickled, **entries})
        case 4:
            content = _zipped({_odd_name(rng): pickled})
        case _:
            content = _lying(rng, _zipped(entries))
    return partial(_use, _written(folder, "hostile.pth", content))


def _odd_name(rng: random.Random) -> str:
    return odd_text(rng)[:200].encode(errors="replace").decode().partition("\0")[0] or "a"


def _lying(rng: random.Random, content: bytes) -> bytes:
    """Fields of one entry of the central directory overwritten."""
    changed = bytearray(content)
    starts = [i for i in range(len(content)) if content.startswith(b"PK\x01\x02", i)]
    for _ in range(rng.choice((1, 1, 2))):
        start = rng.choice(starts)
        at, form = rng.choice(((10, "<H"), (20, "<I"), (24, "<I"), (42, "<I"), (28, "<H"), (30, "<H"), (8, "<H")))
        odd = rng.choice((0, 1, 8, 12, 14, 99, 2**16 - 1, 2**31, 2**32 - 1, len(content), rng.randrange(len(content))))
        struct.pack_into(form, changed, start + at, odd % 256 ** struct.calcsize(form))
    return bytes(changed)


def fields(rng: random.Random, files: Files, folder: Path) -> Attempt:
    """A sound file, whose fields hold what no run writes: wrong types, control characters, names of other folders."""
    checkpoint = {**files.checkpoint, "meta": _changed(rng, files.checkpoint["meta"])}
    if rng.random() < 0.3:
        checkpoint = _changed(rng, checkpoint)
    if rng.random() < 0.2:
        meta = {"mmengine_version": 1, "dataset_meta": odd_value(rng)}
        checkpoint = {"state_dict": checkpoint.get("model"), "meta": meta}
    path = folder / "hostile.pth"
    torch.save(checkpoint, path)
    return partial(_resume_or_use, path, rng.random() < 0.3)


def _resume_or_use(path: Path, resume: bool) -> None:
    if not resume:
        return _use(path)
    from twins.checkpoints.resume import read_training_checkpoint
    from twins.recipes import stored_recipe

    info = read_training_checkpoint(read_info(path))
    if info.recipe is not None:
        stored_recipe(info.recipe, info.task or "classify", info.source)
    return None


def _changed(rng: random.Random, table: dict[str, Any]) -> dict[str, Any]:
    changed = dict(table)
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice([*changed, "surprise"])
        inner = changed.get(name)
        if isinstance(inner, dict) and inner and rng.random() < 0.7:
            changed[name] = _changed(rng, inner)
        else:
            changed[name] = _odd_pickled(rng)
    return changed


def _odd_pickled(rng: random.Random) -> Any:
    """What JSON has not, too."""
    return rng.choice(
        (
            odd_value(rng), odd_value(rng), odd_value(rng), [odd_text(rng) for _ in range(3)], tuple(odd_text(rng)[:3]),
            torch.zeros(2), torch.zeros(3, device="meta"), {1, 2}, frozenset({"a"}), b"bytes", 1j, {1: 2}, {None: 1},
            {("a", 1): torch.zeros(1)}, [torch.zeros(1)] * 3, torch.float32, torch.Size([1, 2]), 10**400, -(10**400),
            Path("../../x"), torch.zeros(1).expand(2**40),
        )
    )  # fmt: skip


def mutated_archives(rng: random.Random, files: Files, folder: Path) -> Attempt:
    base = rng.choice((files.archive, files.foreign))
    return partial(_use, _written(folder, "hostile.pth", mutated_bytes(rng, base, files[1:4])))


def mutated_legacy(rng: random.Random, files: Files, folder: Path) -> Attempt:
    return partial(_use, _written(folder, "hostile.pth", mutated_bytes(rng, files.legacy, files[1:4])))


def mutated_safetensors(rng: random.Random, files: Files, folder: Path) -> Attempt:
    """Of ours, whose digest shows every change, and of others."""
    content = rng.choice((files.safetensors, files.foreign_safetensors, files.foreign_safetensors))
    if rng.random() < 0.5:
        length = int.from_bytes(content[:8], "little")
        header = mutated_json(rng, json.loads(content[8 : 8 + length]))
        content = len(header).to_bytes(8, "little") + header + content[8 + length :]
    else:
        content = mutated_bytes(rng, content, files[1:4])
    return partial(_use, _written(folder, "hostile.safetensors", content))


def folders(rng: random.Random, files: Files, folder: Path) -> Attempt:
    """Model folders: config.json and the index of a checkpoint in parts."""
    home = folder / "folder"
    home.mkdir(exist_ok=True)
    for left in home.iterdir():
        left.unlink()
    _written(home, "model.safetensors", files.safetensors)
    if rng.random() < 0.7:
        config = files.config
        if rng.random() < 0.5:
            timms = {k: v for k, v in config.items() if k != "twins"}
            config = {**timms, "architecture": "twins_svt_small", "model_args": {**timms["model_args"], "wss": [7] * 4}}
        _written(home, "config.json", mutated_json(rng, config))
    else:
        (home / "model.safetensors").rename(home / "part.safetensors")
        index = {"metadata": {"total_size": 1}, "weight_map": {"head.weight": "part.safetensors"}}
        _written(home, "model.safetensors.index.json", mutated_json(rng, index))
    return partial(_use, home)


def only_read(rng: random.Random, files: Files, folder: Path) -> Attempt:
    """Random bytes behind the beginnings of known formats."""
    starts = (b"PK\x03\x04", b"\x80\x02", b"\x80\x05\x95", files.legacy[:40], b"\x10" + bytes(7) + b"{", b"<html", b"")
    content = rng.choice(starts) + rng.randbytes(rng.choice((0, 1, 10, 1000)))
    return partial(read_checkpoint, _written(folder, "hostile.bin", content))


KINDS = (
    Kind("checkpoint: crafted pickles", 14, prepare, pickles),
    Kind("checkpoint: tensors out of bounds", 7, prepare, tensors),
    Kind("checkpoint: zip archives that lie", 7, prepare, archives),
    Kind("checkpoint: odd fields", 9, prepare, fields),
    Kind("checkpoint: mutated .pth", 8, prepare, mutated_archives),
    Kind("checkpoint: mutated legacy .pth", 4, prepare, mutated_legacy),
    Kind("checkpoint: mutated .safetensors", 6, prepare, mutated_safetensors),
    Kind("checkpoint: folders and indices", 6, prepare, folders),
    Kind("checkpoint: beginnings of files", 2, prepare, only_read),
)
