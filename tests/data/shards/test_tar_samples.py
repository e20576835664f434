"""Which samples a tar file has, and that whatever is wrong with it is said by shard and member."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from helpers.shards import labelled, png, write_tar
from twins.data.shards.tar_samples import TarSample, key_and_extension, samples_of_tar
from twins.errors import TwinsError


def samples(path: Path) -> list[TarSample]:
    return list(samples_of_tar(path, path.name))


def refusal(path: Path) -> str:
    with pytest.raises(TwinsError) as error:
        samples(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_keys_end_at_the_first_dot_of_a_name() -> None:
    assert key_and_extension("a.b/cat.01.seg.PNG") == ("a.b/cat", "01.seg.png")
    assert key_and_extension("cat.jpg") == ("cat", "jpg")


def test_samples_with_their_labels_and_positions(tmp_path: Path) -> None:
    described = json.dumps({"label": 7, "class": "wasp", "number": 3, "file": "x"}).encode()
    path = write_tar(tmp_path / "t.tar", {
        "__notes__.txt": b"no sample", "dir/a.PNG": png(1), "dir/a.cls": b" 2\n", "dir/a.txt": b"a caption",
        "b.json": described, "b.png": png(2), "c.png": png(3), "c.cls": b"bee", ".hidden.png": b"", "README": b"",
        "d.json": b'{"cls": 4}', "d.png": png(4), "d.seg.png": png(5),
    })  # fmt: skip
    found = samples(path)
    assert [(s.member, s.label, s.class_name, s.number) for s in found] == [
        ("dir/a.PNG", 2, None, None), ("b.png", 7, "wasp", 3), ("c.png", "bee", None, None), ("d.png", 4, None, None),
    ]  # fmt: skip
    content = path.read_bytes()
    assert [content[s.offset : s.offset + s.size] for s in found] == [png(1), png(2), png(3), png(4)]


@pytest.mark.parametrize(("members", "message"), [
    ({"a.png": b""}, "t.tar: a: has no label; expected a member a.cls with its number"),
    ({"a.cls": b"1"}, "t.tar: a: no image among its members cls"),
    ({"a.png": b"", "a.jpg": b"", "a.cls": b"1"}, "t.tar: a: 2 images (a.png, a.jpg) among its members cls, jpg, png"),
    ({"a.png": b"", "a.cls": b"-1"}, "t.tar: a: a.cls holds '-1', which is no class's number or name"),
    ({"a.png": b"", "a.cls": b""}, "t.tar: a: a.cls holds '', which is no class's number or name"),
    ({"a.png": b"", "a.json": b'{"label": 1.5}'}, "t.tar: a: its .json holds '1.5'"),
    ({"a.png": b"", "a.json": b"[" * 100_000}, "t.tar: a: a.json is not JSON"),
    ({"a.png": b"", "a.cls": b"1" * (1 << 21)}, "t.tar: a: a.cls has 2097152 bytes, too many for a label"),
    ({"a.png": b"", "a.PNG": b"", "a.cls": b"1"}, "t.tar: a: two members a.PNG; each sample needs a key of its own"),
])  # fmt: skip
def test_samples_that_cannot_be_used(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    assert refusal(write_tar(tmp_path / "t.tar", {**labelled(z=0), **members})).startswith(message)


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    assert refusal(tmp_path / "t.tar") == "t.tar: a.png is a link, a device or a sparse file; store it as a file"


def test_what_is_no_plain_tar(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "t.tar", labelled(a=0)).read_bytes()
    for name, content, message in (
        ("gz.tar", gzip.compress(whole), "gz.tar: compressed with gzip; samples are read by their position"),
        ("empty.tar", b"", "empty.tar: cannot be read as a tar file (empty file)"),
        ("text.tar", b"<html>" + b"x" * 2000, "text.tar: cannot be read as a tar file ("),
    ):
        (tmp_path / name).write_bytes(content)
        assert refusal(tmp_path / name).startswith(message)
    os.mkfifo(tmp_path / "pipe.tar")
    assert refusal(tmp_path / "pipe.tar") == "pipe.tar: not a regular file"
    assert "No such file" in refusal(tmp_path / "gone.tar") or "not a regular file" in refusal(tmp_path / "gone.tar")


def test_every_cut_and_every_damaged_header_is_noticed(tmp_path: Path) -> None:
    """`tarfile` alone takes a header that it cannot read for the end of the archive."""
    whole = write_tar(tmp_path / "whole.tar", labelled(a=0, b=1, c=2)).read_bytes()
    end = 6 * 1024  # three samples of two members, each of a header and a block
    assert whole[end:].count(0) == len(whole) - end
    cut = tmp_path / "t.tar"
    for length in (*range(1, 513, 73), *range(513, end + 512, 256)):
        cut.write_bytes(whole[:length])
        assert refusal(cut).startswith("t.tar: ")
    for header in range(512, end, 512):
        if whole[header : header + 5] != b"\x89PNG\r" and whole[header + 257 : header + 262] == b"ustar":
            cut.write_bytes(whole[: header + 150] + b"\xff" + whole[header + 151 :])
            assert refusal(cut).startswith(("t.tar: damaged", "t.tar: cannot be read"))


def test_a_header_that_leads_back_ends(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = 10
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # -1, by GNU's way to write large numbers
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "t.tar").write_bytes(bytes(header) + io.BytesIO(bytes(2048)).read())
    assert refusal(tmp_path / "t.tar").startswith("t.tar: ")
