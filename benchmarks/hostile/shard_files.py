"""Hostile tar shards, and the files beside them that describe them."""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from twins.data.shards.index import IndexedShard
from twins.data.shards.members import Shard

from .annotation_files import look_at_labels, prepare_images
from .mutation import mutated_bytes, mutated_json, odd_text
from .sandbox import Attempt, Kind

_ODD_KINDS = (
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE),
    tarfile.GNUTYPE_SPARSE,
)


class Files(NamedTuple):
    """Valid ones: images, and a shard of them."""

    images: tuple[bytes, ...]
    shard: bytes


def prepare(folder: Path) -> Files:
    prepare_images(folder)
    images = tuple(path.read_bytes() for path in sorted(folder.glob("*.png")))
    members = [(f"{i}.{kind}", data) for i, image in enumerate(images) for kind, data in _sample(i, image).items()]
    return Files(images, _tar([(tarfile.TarInfo(name), content) for name, content in members]))


def _sample(number: int, image: bytes) -> dict[str, bytes]:
    described = {"label": number % 2, "class": ("ant", "bee")[number % 2], "file": f"{number}.png", "number": number}
    return {"png": image, "cls": str(number % 2).encode(), "json": json.dumps(described).encode()}


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _with_odd_members(rng: random.Random, files: Files) -> bytes:
    """A label, a description, a name or a kind of member that is none."""
    members = []
    for number, image in enumerate(files.images):
        sample = _sample(number, image)
        if rng.random() < 0.3:
            odd = odd_text(rng).encode(errors="replace")
            sample["cls"] = rng.choice((b"", b"-1", b"9" * 5000, b"4294967296", b"\xff", odd))
        if rng.random() < 0.3:
            sample["json"] = mutated_json(rng, json.loads(sample["json"]))
        if rng.random() < 0.2:
            del sample[rng.choice(list(sample))]
        key = str(number) if rng.random() < 0.8 else odd_text(rng).encode(errors="replace").decode()[:300] or "a"
        for extension, content in sample.items():
            info = tarfile.TarInfo(f"{key}.{extension}")
            if rng.random() < 0.05:
                info.type, info.linkname = rng.choice(_ODD_KINDS), rng.choice(("/etc/passwd", "../../x", "0.png"))
            members.append((info, content))
    return _tar(members)


def shards(rng: random.Random, files: Files, folder: Path) -> Attempt:
    home = folder / "data"
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)  # of what was listed before
    home.mkdir()
    shard = _with_odd_members(rng, files) if rng.random() < 0.5 else files.shard
    if rng.random() < 0.5:
        shard = mutated_bytes(rng, shard, [files.shard])
    path = home / "train-000000.tar"
    if rng.random() < 0.3:  # the index of a sound one, for the time and size of the file that is there
        path.write_bytes(files.shard)
        _write_odd_index(rng, path)
    else:
        path.write_bytes(shard)
    if rng.random() < 0.3:
        parts = {"train": {"images": 4, "shards": [path.name]}}
        about = {"format": "webdataset", "task": "classify", "classes": ["ant", "bee"], "parts": parts}
        (home / "dataset.json").write_bytes(mutated_json(rng, about))
    return partial(look_at_labels, home)


def _write_odd_index(rng: random.Random, shard: Path) -> None:
    row = json.loads(IndexedShard.of(Shard(shard, shard.name)).line(shard.name))
    name = rng.choice(("members", "offsets", "sizes", "labels", "label_names", "class_names", "numbers"))
    if isinstance(row[name], list) and rng.random() < 0.7 and row[name]:
        row[name][0] = rng.choice((0, -1, 2**31, 2**53, 2**62, "a"))
        content = json.dumps(row).encode()
    else:
        content = mutated_json(rng, row)
    (shard.parent / "index.jsonl").write_bytes(content + b"\n")


KINDS = (Kind("tar shards", 8, prepare, shards),)
