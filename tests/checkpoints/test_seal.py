"""No byte of a checkpoint changes unnoticed: ours by their seal, others by the sums that the archive holds."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import pytest
import torch

import twins
from twins.checkpoints import torch_files
from twins.checkpoints.resume import save_checkpoint
from twins.checkpoints.seal import SealedWriter, seal_of
from twins.errors import TwinsError

CONTENT: dict[str, Any] = {"model": {"head.weight": torch.arange(40.0), "head.bias": torch.tensor([1, 2])}, "epoch": 3}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    save_checkpoint(CONTENT, tmp_path / "sealed.pth")
    return tmp_path / "sealed.pth"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    torch.save(CONTENT, tmp_path / "foreign.pth")
    return tmp_path / "foreign.pth"


def sealed_as(path: Path) -> str:
    with path.open("rb") as file:
        return seal_of(file)


def with_byte(path: Path, position: int, bit: int) -> Path:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.with_stem("changed").write_bytes(content)
    return path.with_stem("changed")


def test_what_is_sealed_is_read_by_us_and_by_pytorch(sealed: Path) -> None:
    for content in (twins.read_checkpoint(sealed), torch.load(sealed, weights_only=True)):
        assert content["epoch"] == 3
        assert torch.equal(content["model"]["head.weight"], CONTENT["model"]["head.weight"])


def test_every_byte_counts(sealed: Path) -> None:
    for position in range(sealed.stat().st_size):
        changed = with_byte(sealed, position, position % 8)
        with pytest.raises(TwinsError, match=r"changed\.pth is "):
            twins.read_checkpoint(changed)


def test_a_file_cut_short_or_with_more_behind_it_is_refused(sealed: Path) -> None:
    whole, changed = sealed.read_bytes(), sealed.with_stem("changed")
    for content in (whole[:-1], whole[:-77], whole[:-79], whole[:100], whole + b"\0", whole + b"more"):
        changed.write_bytes(content)
        with pytest.raises(TwinsError, match="is cut short or damaged"):
            twins.read_checkpoint(changed)


def test_a_file_that_is_replaced_while_it_is_read_is_whole(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opened the one before reads that to its end."""
    check = torch_files._check_entries

    def replaced_meanwhile(*args: Any) -> None:
        check(*args)
        save_checkpoint({"model": {"w": torch.arange(500.0)}}, sealed)

    monkeypatch.setattr(torch_files, "_check_entries", replaced_meanwhile)
    assert twins.read_checkpoint(sealed)["epoch"] == 3


def test_bytes_of_tensors_count_in_files_of_others(foreign: Path) -> None:
    assert sealed_as(foreign) == "none"
    start = foreign.read_bytes().index(CONTENT["model"]["head.weight"].numpy().tobytes())
    for position in (start, start + 77, start + 159):
        with pytest.raises(TwinsError, match="is cut short or damaged"):
            twins.read_checkpoint(with_byte(foreign, position, 6))


def test_a_file_without_sums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(twins.read_checkpoint(tmp_path / "a.pth")["model"]["head.bias"], torch.tensor([1, 2]))


def test_a_comment_of_others_is_none_of_ours(foreign: Path) -> None:
    content = foreign.read_bytes()
    for comment, seal in ((b"a note", "none"), (b"x" * 77, "broken")):
        foreign.write_bytes(content[:-2] + len(comment).to_bytes(2, "little") + comment)
        assert sealed_as(foreign) == seal


def test_what_the_disk_refused_is_known(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    writer = SealedWriter(Full())
    with pytest.raises((OSError, RuntimeError)):
        torch.save(CONTENT, writer)  # type: ignore[arg-type]
    assert writer.error is not None
    assert writer.error.errno == errno.ENOSPC
