"""The digest in safetensors files of ours: no byte changes unnoticed, and files of others are read as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import twins
from helpers.tiny import TINY
from twins.checkpoints.integrity import NO_CHECKSUM, checksum_inside
from twins.checkpoints.read import read_checkpoint
from twins.checkpoints.safetensors_digest import KEY, with_digest
from twins.errors import TwinsError

TENSORS = {
    "head.weight": torch.arange(6.0).reshape(2, 3),
    "head.bias": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "mask": torch.tensor([True, False]),
}


def write(path: Path, metadata: dict[str, str] | None) -> Path:
    save_file(TENSORS, path, metadata)
    return path


def test_it_is_read_with_its_digest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", with_digest(TENSORS, {"format": "pt"}))
    read = read_checkpoint(path)
    assert len(read["metadata"][KEY]) == 64
    assert read["metadata"]["format"] == "pt"
    assert checksum_inside(path) == "SHA-256 of its content"
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(read["model"][name], tensor, rtol=0, atol=0)


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    sound = write(tmp_path / "a.safetensors", with_digest(TENSORS, {"format": "pt"})).read_bytes()
    for index in range(len(sound)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            damaged = bytearray(sound)
            damaged[index] ^= flip
            (tmp_path / "b.safetensors").write_bytes(damaged)
            with pytest.raises(TwinsError):
                read_checkpoint(tmp_path / "b.safetensors")


def test_a_changed_number_is_called_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", with_digest(TENSORS, {"format": "pt"}))
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(TwinsError, match=r"a\.safetensors is damaged, or another program has changed it"):
        read_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt", "sshs_model_hash": "0" * 64}])
def test_those_of_others_have_none(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = write(tmp_path / "a.safetensors", metadata)
    assert read_checkpoint(path)["model"].keys() == TENSORS.keys()
    assert checksum_inside(path) == NO_CHECKSUM


def test_published_folders_have_it(tmp_path: Path) -> None:
    twins.save_pretrained(twins.create_model("twins_svt_small", num_classes=3, **TINY), tmp_path / "net")
    path = tmp_path / "net" / "model.safetensors"
    with safe_open(path, framework="pt") as opened:
        assert opened.metadata() == with_digest(load_file(path), {"format": "pt"})
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(TwinsError, match="is damaged"):
        twins.load(tmp_path / "net")
