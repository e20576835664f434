"""Files whose tensors lie in shards: what is taken out comes back, and nothing else is believed."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from twins.checkpoints.read import read_checkpoint
from twins.checkpoints.resume import save_checkpoint
from twins.checkpoints.shards import leave_out, put_back
from twins.errors import TwinsError

CHECKPOINT: dict[str, Any] = {
    "model": {"head.weight": torch.arange(6.0).reshape(3, 2), "bn.count": torch.tensor(3)},
    "optimizer": {
        "state": {0: {"exp_avg": torch.ones(3, 2), "step": torch.tensor(1.0)}},
        "param_groups": [{"lr": 1.0}],
    },
    "rng": torch.zeros(2, 2),
    "meta": {"name": "in the shards"},
}


def test_what_was_left_out_is_put_back_where_it_was():
    rest, tensors = leave_out(CHECKPOINT, lambda value: isinstance(value, torch.Tensor) and value.ndim == 2)
    assert tensors.keys() == {"model/head.weight", "optimizer/state/0/exp_avg"}
    assert rest["optimizer"]["state"][0].keys() == {"exp_avg", "step"}
    assert rest["rng"] is CHECKPOINT["rng"]
    assert put_back(rest, tensors) == CHECKPOINT  # the tensors are the same objects
    with pytest.raises(KeyError, match="model/head.weight"):
        put_back(rest, {})


FILES = {"a.safetensors": 64 * "0"}


@pytest.mark.parametrize(
    "named",
    [
        None,
        {},
        {"folder": "shards-1", "files": {}},
        {"folder": "../shards-1", "files": FILES},
        {"folder": "", "files": FILES},
        {"folder": "..", "files": FILES},
        {"folder": "shards-1", "files": {"../a.safetensors": 64 * "0"}},
        {"folder": "shards-1", "files": {"a.pth": 64 * "0"}},
        {"folder": "shards-1", "files": {"a.safetensors": 63 * "0"}},
        {"folder": "shards-1", "files": {"a.safetensors": 0}},
        {"folder": ["shards-1"], "files": FILES},
    ],
)
def test_names_that_no_run_writes_are_refused(tmp_path: Path, named: Any) -> None:
    file = tmp_path / "checkpoint.pth"
    save_checkpoint(CHECKPOINT | {"shards": named}, file)
    with pytest.raises(TwinsError, match="does not say which shards are its own: the file is damaged"):
        read_checkpoint(file)


def beside(file: Path, shards: dict[str, bytes]) -> dict[str, Any]:
    """Write these files into a folder of shards; returns what a checkpoint says of them."""
    (file.parent / "shards-1").mkdir()
    for name, content in shards.items():
        (file.parent / "shards-1" / name).write_bytes(content)
    return {"folder": "shards-1", "files": {name: sha256(content).hexdigest() for name, content in shards.items()}}


def rows(offset: Any, weight: torch.Tensor) -> bytes:
    """A shard as torch.distributed.checkpoint writes it: rows of the head's weight from `offset` on."""
    info = json.dumps({"model/head.weight": {"saved_offsets": offset}})
    return save({"model/head.weight": weight}, {"DCP_SHARDING_INFO": info, "DCP_VERSION": "1.0", "format": "pt"})


WEIGHT = CHECKPOINT["model"]["head.weight"]
WHOLE = rows([0, 0], WEIGHT)
REST, _ = leave_out(CHECKPOINT, lambda value: value is WEIGHT)


def test_rows_of_two_ranks_become_one_weight(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pth"
    shards = {"b.safetensors": rows([0, 0], WEIGHT[:2].clone()), "a.safetensors": rows([2, 0], WEIGHT[2:].clone())}
    save_checkpoint(REST | {"shards": beside(file, shards)}, file)
    content = read_checkpoint(file)
    assert torch.equal(content["model"]["head.weight"], WEIGHT)
    assert content.keys() == CHECKPOINT.keys()
    (tmp_path / "shards-1" / "c.safetensors").touch()
    with pytest.raises(TwinsError, match=r"shards-1: c.safetensors is no shard of .*checkpoint.pth: remove it"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04.",
        WHOLE[:-1],
        rows([2**40, 0], WEIGHT),
        rows([2**80, 0], WEIGHT),
        rows([-1, 0], WEIGHT),
        rows([0], WEIGHT),
        rows("00", WEIGHT),
        rows(None, WEIGHT),
        WHOLE.replace(b"DCP_SHARDING_INFO", b"DCP_SHARDING_INFA").replace(b"model/head.weight", b"model/heat.weight"),
    ],
    ids=range(10),
)
def test_shards_of_something_else_are_refused_in_bounded_memory(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "checkpoint.pth"
    save_checkpoint(REST | {"shards": beside(file, {"a.safetensors": content})}, file)
    with pytest.raises(
        TwinsError, match="shards-1: (holds no shards of a checkpoint|lacks 'model/head.weight', which)"
    ):
        read_checkpoint(file)


def test_deep_nesting_is_read_no_deeper_than_a_run_writes(tmp_path: Path) -> None:
    nested: Any = "in the shards"
    for _ in range(50):
        nested = {"deeper": nested}
    assert put_back({"model": nested}, {}) == {"model": nested}
