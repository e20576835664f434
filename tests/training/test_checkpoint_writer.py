"""Checkpoints are written beside training, of the state as it was, and what goes wrong comes out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from twins.errors import TwinsError
from twins.training import checkpoint_writer
from twins.training.checkpoint_writer import CheckpointWriter, copied


def weight_in(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["model"]["weight"][0])


def test_what_changes_later_is_not_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, go_on = checkpoint_writer.save_checkpoint, threading.Event()

    def slow(*args: Any) -> None:
        assert go_on.wait(60)
        write(*args)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", slow)
    weight = torch.zeros(3)
    with CheckpointWriter(keep=1) as writer:
        writer.save(lambda: {"model": {"weight": weight}}, tmp_path / "a.pth")
        assert not (tmp_path / "a.pth").exists()
        weight += 1
        go_on.set()
        writer.save(lambda: {"model": {"weight": weight}}, tmp_path / "a.pth", also=tmp_path / "b.pth")
        weight += 1
    assert {path.name: weight_in(path) for path in tmp_path.iterdir()} == {"a.1.pth": 0.0, "a.pth": 1.0, "b.pth": 1.0}
    assert len(writer.blocked) == 2


def test_what_goes_wrong_comes_out_of_the_next_call(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    with CheckpointWriter(keep=1) as writer:
        writer.save(lambda: {"model": {}}, taken / "a.pth")
        with pytest.raises(TwinsError, match=r"a\.pth: cannot be written"):
            writer.save(lambda: {"model": {}}, tmp_path / "b.pth")
        assert not (tmp_path / "b.pth").exists()
        writer.save(lambda: {"model": {}}, tmp_path / "b.pth")
    assert (tmp_path / "b.pth").exists()
    with pytest.raises(TwinsError, match=r"a\.pth: cannot be written"), CheckpointWriter(keep=1) as writer:
        writer.save(lambda: {"model": {}}, taken / "a.pth")


def test_copies_keep_everything_but_the_memory() -> None:
    image = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)
    value = {"a": [torch.ones(2), (1, "b", None)], "c": {0: image}}
    copy = copied(value)
    assert copy["a"][1] == (1, "b", None)
    assert torch.equal(copy["a"][0], value["a"][0])
    assert copy["a"][0].data_ptr() != value["a"][0].data_ptr()
    assert copy["c"][0].stride() == value["c"][0].stride()
