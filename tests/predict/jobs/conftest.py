"""Tiny networks of the three tasks and a few images, kept in every kind of source."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.shards import write_tar
from predict.test_predict import checkpoint, saved

COUNT = 11
KINDS = ("classify", "upernet", "mask_rcnn", "retinanet")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    folder = tmp_path_factory.mktemp("networks")
    return {kind: checkpoint(folder, kind)[0] for kind in KINDS}


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same images in the same order: in a folder, by a list, in two shards, and in two tables of two groups."""
    root = tmp_path_factory.mktemp("sources")
    files = [root / "images" / f"{i % 2}" / f"{i:03d}.png" for i in sorted(range(COUNT), key=lambda i: (i % 2, i))]
    for i, file in enumerate(files):
        saved(file, 40 + i, 48, seed=i)
    (root / "list.txt").write_bytes(
        b"\xef\xbb\xbf" + b"\r\n\r\n".join(f"images/{f.parent.name}/{f.name}".encode() for f in files[:-1])
        + f"\n  \n{files[-1]}".encode()
    )  # fmt: skip
    for number, part in enumerate((files[:4], files[4:])):
        members = {f"{file.stem}.png": file.read_bytes() for file in part}
        write_tar(root / "shards" / f"s-{number}.tar", {**members, "notes.txt": b"no image"})
        held = [{"bytes": file.read_bytes(), "path": file.name} for file in part]
        pq.write_table(pa.table({"n": range(len(part)), "image": held}), root / f"{number}.parquet", row_group_size=3)
    return {
        "folder": str(root / "images"),
        "list": str(root / "list.txt"),
        "tar": str(root / "shards" / "s-{0..1}.tar"),
        "folder of tar": str(root / "shards"),
        "parquet": f"{root}/0.parquet {root}/1.parquet",
        "files": " ".join(map(str, files)),
    }


@pytest.fixture(scope="session")
def files(sources: dict[str, str]) -> list[Path]:
    """The images as files, in order."""
    return [Path(file) for file in sources["files"].split()]
