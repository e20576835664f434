"""What a checkpoint's fields hold is checked once, where it is read: anything else than a run writes is one line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from twins.checkpoints.info import describe, read_info
from twins.checkpoints.resume import read_training_checkpoint
from twins.errors import TwinsError

OLD_RUNS = Path(__file__).parents[1] / "old_runs"
TASKS = ("classify", "segment", "detect")
ODD = (0, -1, 10**30, 1.5, float("nan"), True, "", "x", "\0", b"x", [], [1], ["a", 1], {}, {"a": 1}, {1: 2},
       torch.ones(2), [[]], {"params": []})  # fmt: skip


def checkpoint_of(task: str) -> dict[str, Any]:
    return copy.deepcopy(dict(read_info(OLD_RUNS / task / "checkpoint.pth").checkpoint))


@pytest.mark.parametrize("task", TASKS)
def test_what_a_run_writes_passes(task: str) -> None:
    info = read_training_checkpoint(OLD_RUNS / task / "checkpoint.pth")
    assert (info.task, info.source) == (task, str(OLD_RUNS / task / "checkpoint.pth"))


@pytest.mark.parametrize(("field", "value", "message"), [
    ("task", "clasify", "meta: task holds 'clasify', not one of classify, segment, detect"),
    ("name", ["a"], r"meta: name holds \['a'\], not one of twins_pcpvt_small"),
    ("create_model", {"depths": [1, 1, 1, 10**9]}, r"meta claims depths=\[1, 1, 1, 1000000000\], far more"),
    ("create_model", {"embed_dims": [8, 8, 16, 10**5]}, "meta claims embed_dims="),
    ("create_model", {"num_classes": 4}, "meta has 3 classes for a network of 4 classes"),
    ("create_model", None, "meta: has no `create_model`"),
    ("create_model", {"num_classes": None}, "meta.create_model: has no `num_classes`"),
    ("create_model", {"num_classes": 3, "in_chans": 1}, "preprocessing of 3 channels for a network of 1"),
    ("create_model", {"window_size": float("inf")}, "meta: create_model holds .* not keywords of a network"),
    ("classes", [1, 2, 3], r"meta: classes holds \[1, 2, 3\], not a list of names"),
    ("preprocessing", {"img_size": 10**5}, "preprocessing: img_size must be between 1 and 16384 pixels"),
    ("preprocessing", {"img_size": 64, "crop_pct": 0.0}, "preprocessing: crop_pct must be a share"),
    ("preprocessing", {"nope": 1}, "preprocessing has no 'nope'"),
    ("preprocessing", {"mean": []}, r"preprocessing: mean takes a number for each channel, not \(\)"),
    ("preprocessing", {"std": [1.0, 1.0, 0.0]}, "preprocessing: mean and std take a number for each channel, std none"),
    ("recipe", "x", "meta: recipe holds 'x', not fields by name"),
])  # fmt: skip
def test_a_field_of_meta_that_no_run_writes_is_named(field: str, value: Any, message: str) -> None:
    checkpoint = checkpoint_of("classify")
    checkpoint["meta"][field] = value
    with pytest.raises(TwinsError, match=f"^odd.pth: {message}"):
        describe(checkpoint, "odd.pth")


def test_dense_networks_need_a_head() -> None:
    checkpoint = checkpoint_of("segment")
    checkpoint["meta"]["head"] = None
    with pytest.raises(TwinsError, match=r"^odd.pth: meta names no head \(upernet or semantic_fpn\)"):
        describe(checkpoint, "odd.pth")


@pytest.mark.parametrize(("task", "name", "value", "holds"), [
    ("segment", "head_drop", None, "has no `head_drop`"),
    ("segment", "head_drop", "x", "head_drop holds 'x', not a number from 0 to 1"),
    ("segment", "channels", 1.5, "channels holds 1.5, not a whole number from 1 up"),
    ("detect", "box_channels", True, "box_channels holds True, not a whole number from 1 up"),
    ("detect", "proposals", None, "has no `proposals`"),
])  # fmt: skip
def test_settings_of_a_head_are_numbers(task: str, name: str, value: Any, holds: str) -> None:
    checkpoint = checkpoint_of(task)
    checkpoint["meta"]["create_model"] |= {name: value}
    with pytest.raises(TwinsError, match=f"^odd.pth: meta.create_model: {holds}"):
        describe(checkpoint, "odd.pth")


@pytest.mark.parametrize("task", TASKS)
def test_odd_fields_never_lead_to_anything_but_one_line(task: str, tmp_path: Path) -> None:
    """Those that pass are described; those that do not are a TwinsError of one line that names the file."""
    whole = checkpoint_of(task)
    messages = []
    for field in (*(("meta", name) for name in whole["meta"]), *((name,) for name in whole)):
        for value in ODD:
            try:
                read_training_checkpoint(describe(_with(whole, field, value), "odd.pth"))
            except TwinsError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert [m for m in messages if "\n" in m or not m.startswith("odd.pth: ")] == []


def _with(checkpoint: dict[str, Any], field: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The checkpoint with another value in a field, or in one of a field's own."""
    name, *below = field
    return {**checkpoint, name: _with(checkpoint[name], tuple(below), value) if below else value}


@pytest.mark.parametrize("value", [{"a": [["b"]]}, {"a": {"b": {"c": 1}}}, {"a": float("inf")}, {"a": torch.ones(1)}])
def test_a_recipe_holds_plain_values(value: dict[str, Any]) -> None:
    checkpoint = checkpoint_of("classify")
    checkpoint["meta"]["recipe"] = value
    with pytest.raises(TwinsError, match="meta: recipe holds .* not fields by name, each a name, a number or a list"):
        describe(checkpoint, "a.pth")


@pytest.mark.parametrize("field", ["mean", "std", "crop_pct"])
def test_numbers_beyond_floats_are_none(field: str) -> None:
    checkpoint = checkpoint_of("classify")
    meta = checkpoint["meta"]
    meta["preprocessing"] = {**meta["preprocessing"], field: 10**400 if field == "crop_pct" else (10**400,) * 3}
    with pytest.raises(TwinsError, match=f"preprocessing: {field}"):
        describe(checkpoint, "a.pth")


@pytest.mark.parametrize("dataset", [3, [1], {"classes": 3}, {"classes": [1, 2]}, {1: 2}])
def test_class_names_of_others_that_are_none_are_left_out(dataset: object) -> None:
    weights = checkpoint_of("segment")["model"]
    info = describe({"state_dict": weights, "meta": {"mmengine_version": "1", "dataset_meta": dataset}}, "a.pth")
    assert not info.classes_named
