"""Earlier checkpoints stay beside the newest, and stand in for it when it is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.tiny import TINY
from twins.checkpoints.info import CheckpointInfo, read_info
from twins.checkpoints.resume import save_checkpoint
from twins.checkpoints.rotation import newest_whole
from twins.errors import TwinsError
from twins.model import Twins
from twins.zoo import create_model


@pytest.fixture(scope="module")
def network() -> Twins:
    return create_model("twins_svt_small", num_classes=3, **TINY)


def save(network: Twins, path: Path, epoch: int, keep: int, also: Path | None = None) -> None:
    save_checkpoint({"model": network.state_dict(), "epoch": epoch}, path, keep, also)


def epochs(folder: Path) -> dict[str, int]:
    return {path.name: read_info(path).checkpoint["epoch"] for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("links", [True, False])
def test_so_many_are_kept(network: Twins, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    path = tmp_path / "checkpoint.pth"
    for epoch in range(5):
        save(network, path, epoch, keep=2, also=tmp_path / "best.pth" if epoch == 3 else None)
    assert epochs(tmp_path) == {"best.pth": 3, "checkpoint.1.pth": 3, "checkpoint.2.pth": 2, "checkpoint.pth": 4}
    save(network, path, 5, keep=0)
    assert epochs(tmp_path) == {"best.pth": 3, "checkpoint.pth": 5}


def test_the_one_before_a_damaged_one_is_taken(network: Twins, tmp_path: Path) -> None:
    path, said = tmp_path / "checkpoint.pth", list[str]()
    for epoch in range(3):
        save(network, path, epoch, keep=2)

    def newest() -> CheckpointInfo:
        said.clear()
        return newest_whole(path, read_info, said.append)

    assert newest().checkpoint["epoch"] == 2
    assert said == []
    path.write_bytes(path.read_bytes()[:-5])
    assert newest().checkpoint["epoch"] == 1
    assert said == [
        f"{path} is cut short or damaged: download or copy it again",
        f"going on with the one before it, {tmp_path / 'checkpoint.1.pth'}",
    ]
    (tmp_path / "checkpoint.1.pth").write_bytes(b"")
    assert newest().source == str(tmp_path / "checkpoint.2.pth")
    (tmp_path / "checkpoint.2.pth").unlink()
    with pytest.raises(TwinsError, match=r"checkpoint\.pth is cut short"):
        newest()
