"""Recipes: the published learning rates, scaling with the batch, and reading back what was written."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import ModuleType

import pytest

from twins.cli import parse
from twins.errors import TwinsError
from twins.heads.detection import SURE
from twins.model import VARIANTS
from twins.model_names import MODEL_NAMES, model_name
from twins.recipes import TASKS, ClassifyRecipe, classify, detect, find_recipe, list_recipes, recipe_class, segment
from twins.training.optim import learning_rates
from twins.zoo import PUBLISHED as PUBLISHED_CLASSIFIERS
from twins.zoo import PUBLISHED_SEGMENTERS, list_models

# From the public training logs: base learning rate, epochs of warm-up, drop-path, and the `train_lr` of the last epoch.
PUBLISHED = {
    "twins_pcpvt_small": (1.25e-3, 5, 0.2, 1.0135976e-5),
    "twins_pcpvt_base": (1e-3, 5, 0.3, 1.0108562e-5),
    "twins_pcpvt_large": (1e-3, 5, 0.5, 1.0108562e-5),
    "twins_svt_small": (2e-3, 5, 0.2, 1.0218220e-5),
    "twins_svt_base": (1e-3, 5, 0.3, 1.0108562e-5),
    "twins_svt_large": (1e-3, 20, 0.5, 1.0108562e-5),
}


def published_lrs(base: float, warmup: int) -> list[float]:
    """The curve that fits the logs: epoch e runs at f(max(e - 1, 0)), and the cosine is not shifted by the warm-up."""

    def f(t: int) -> float:
        if t < warmup:
            return 1e-6 + t * (base - 1e-6) / warmup
        return 1e-5 + (base - 1e-5) * (1 + math.cos(math.pi * t / 300)) / 2

    return [f(max(epoch - 1, 0)) for epoch in range(300)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_learning_rates_are_those_of_the_published_logs(name: str) -> None:
    base, warmup, drop_path, last = PUBLISHED[name]
    recipe = find_recipe(name)
    lrs = learning_rates(recipe.resolve(processes=1), updates_per_epoch=1)
    assert lrs == pytest.approx(published_lrs(base, warmup), rel=1e-12)
    assert lrs[-1] == pytest.approx(last, rel=1e-7)
    assert (recipe.drop_path, recipe.model) == (drop_path, name)


def test_learning_rates_copied_from_the_log_of_svt_small() -> None:
    lrs = learning_rates(find_recipe("twins_svt_small").resolve(processes=8), updates_per_epoch=1)
    logged = {0: 1e-6, 1: 1e-6, 2: 4.008e-4, 7: 1.998036594786e-3, 100: 1.5114962086716e-3}
    assert {epoch: lrs[epoch] for epoch in logged} == pytest.approx(logged, rel=1e-9)


def test_every_network_has_its_published_recipe() -> None:
    assert set(list_models()) <= set(list_recipes())


@pytest.mark.parametrize(("processes", "batch", "accumulate", "expected"), [
    (1, None, 1, (1024, 1e-3)), (8, None, 1, (128, 1e-3)), (8, None, 2, (64, 1e-3)),
    (8, 64, 1, (64, 5e-4)), (1, 64, 4, (64, 2.5e-4)), (3, None, 1, (340, 1e-3 * 1020 / 1024)),
])  # fmt: skip
def test_the_learning_rate_scales_with_the_global_batch(
    processes: int, batch: int | None, accumulate: int, expected: tuple[int, float]
) -> None:
    recipe = find_recipe("twins_svt_base").replace(batch_size=batch, grad_accum_steps=accumulate)
    resolved = recipe.resolve(processes)
    assert (resolved.batch_size, resolved.lr) == pytest.approx(expected)


def test_lr_is_the_peak_itself() -> None:
    recipe = ClassifyRecipe(lr=3e-4, batch_size=7, lr_base_size=1024)
    assert recipe.resolve(processes=5).lr == 3e-4


@pytest.mark.parametrize(("sched", "unit"), [
    *((sched, "epoch") for sched in ("cosine", "step", "multistep", "tanh", "poly", "constant", "plateau")),
    *((sched, "step") for sched in ("cosine", "step", "multistep", "tanh", "poly", "constant")),
])  # fmt: skip
def test_every_schedule_warms_up_to_the_peak(sched: str, unit: str) -> None:
    power_or_factor = 1.0 if sched == "poly" else 0.1
    recipe = ClassifyRecipe(epochs=20, lr=1e-2, sched=sched, sched_unit=unit, warmup_epochs=4, decay_epochs=6,
                            decay_milestones=(8, 12), min_lr=1e-5, decay_rate=power_or_factor)  # fmt: skip
    lrs = learning_rates(recipe, updates_per_epoch=10)
    assert lrs[0] == pytest.approx(1e-6)
    assert lrs[2] == pytest.approx((1e-6 + 1e-2) / 2, rel=1e-3)
    assert max(lrs) == pytest.approx(1e-2, rel=0.25 if sched == "poly" else 0.12)
    if sched not in ("constant", "plateau"):
        assert lrs[-1] < 2e-3


def test_a_recipe_reads_back(tmp_path: Path) -> None:
    recipe = find_recipe("digits").resolve(processes=1)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe": recipe.to_dict(), "ran_on": {}}))
    read = find_recipe(str(path))
    as_json = [json.loads(json.dumps(r.to_dict())) for r in (recipe, read)]
    assert as_json[0] == as_json[1]
    assert isinstance(read, ClassifyRecipe)


def test_recipes_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_recipe("digits").epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(("content", "message"), [
    ('{"epoch": 3}', "unknown field 'epoch' (did you mean epochs"),
    ("{", "not a readable recipe"),
    ("[1]", "a recipe is a JSON object"),
])  # fmt: skip
def test_bad_recipe_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(TwinsError) as error:
        find_recipe(str(path))
    assert str(error.value).startswith(f"{path}: {message}")


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(TwinsError, match="unknown recipe 'twins_svt_smal' .did you mean twins_svt_small"):
        find_recipe("twins_svt_smal")
    with pytest.raises(TwinsError, match="unknown task 'clasify' .did you mean classify"):
        find_recipe("digits", task="clasify")


@pytest.mark.parametrize(("values", "message"), [
    ({"sched": "cosin"}, "--sched must be one of cosine, step"),
    ({"epochs": "three"}, "mine.json: --epochs takes a whole number, not 'three'"),
    ({"smoothing": 1.5}, "--smoothing must be between 0 and 1, not 1.5"),
])  # fmt: skip
def test_values_are_checked_wherever_they_come_from(values: dict[str, object], message: str) -> None:
    with pytest.raises(TwinsError) as error:
        ClassifyRecipe.from_dict(values, source="mine.json")
    assert message in str(error.value)


@pytest.mark.parametrize(("module", "task", "updates"), [
    (classify, "classify", {"twins_svt_small": 300}),
    (segment, "segment", {"upernet_svt_small": 160_000, "semantic_fpn_svt_small": 80_000}),
    (detect, "detect", {"mask_rcnn_svt_small_1x": 12, "mask_rcnn_svt_small_3x": 36}),
])  # fmt: skip
def test_the_command_in_a_recipes_header_trains_the_published_run(
    module: ModuleType, task: str, updates: dict[str, int]
) -> None:
    """It parses, and what the header says of the cost is what the recipes do."""
    header = module.__doc__.replace("\\\n", " ")
    command = next(line.split() for line in header.splitlines() if "torchrun" in line)
    args = parse(command[command.index("twins.cli") + 1 :])
    name = args.recipe
    assert (args.task, command[:3]) == (task, ["torchrun", "--nproc-per-node", "8"])
    assert args.base_recipe.replace(**args.changes).data == find_recipe(name, task).data
    for name, count in updates.items():
        recipe = find_recipe(name, task)
        assert recipe.epochs * (recipe.steps_per_epoch or 1) == count
        assert f"{count:,}" in header


def test_results_in_the_headers_are_the_published_ones() -> None:
    for name, published in PUBLISHED_CLASSIFIERS.items():
        batch = find_recipe(name).lr_base_size
        assert f"    {name:17}  {batch:13}  {published.top1:8}\n" in classify.__doc__
    rows = [line.split() for line in segment.__doc__.splitlines() if line.startswith(("    pcpvt", "    svt"))]
    found: dict[tuple[str, str], tuple[float, float | None]] = {}
    for size, one, _, several, fpn in rows:
        found["upernet", f"twins_{size}"] = float(one), float(several)
        found["semantic_fpn", f"twins_{size}"] = float(fpn), None
    assert found == {key: (p.miou, p.miou_multi_scale) for key, p in PUBLISHED_SEGMENTERS.items()}


def test_every_flag_is_one_of_train() -> None:
    commands = {c for task in TASKS for f in dataclasses.fields(recipe_class(task)) if f.metadata
                for c in f.metadata["commands"]}  # fmt: skip
    assert commands == {"train", "eval", "data", "predict"}
    for task in TASKS:
        fields = [f for f in dataclasses.fields(recipe_class(task)) if f.metadata]
        assert all("train" in f.metadata["commands"] for f in fields)
        assert [f.name for f in dataclasses.fields(recipe_class(task)) if not f.metadata] == ["task", "part", "split"]


def test_the_score_that_prediction_shows() -> None:
    """As its help says it."""
    conf = next(f for f in dataclasses.fields(recipe_class("detect")) if f.name == "conf")
    assert conf.metadata["unless_given"]["predict"] == str(SURE)


def test_the_six_names() -> None:
    assert list(MODEL_NAMES) == list(VARIANTS)
    assert [model_name(name) for name in ("Twins-SVT-S", "alt_gvt_large", "pcpvt_base_v0", " PCPVT_L ")] == [
        "twins_svt_small", "twins_svt_large", "twins_pcpvt_base", "twins_pcpvt_large",
    ]  # fmt: skip


@pytest.mark.parametrize("content", [
    "[" * 100_000, '{"seed": ' + "9" * 5000 + "}", '{"recipe": [1]}', '{"recipe": "digits"}', "3", "\xff",
])  # fmt: skip
def test_what_is_no_recipe_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_bytes(content.encode("latin1"))
    with pytest.raises(TwinsError, match=r"r\.json: (not a readable recipe|a recipe is a JSON object of fields)"):
        parse(["train", "--recipe", str(tmp_path / "r.json")])


@pytest.mark.parametrize("task", [["classify"], {"a": 1}, 3, None])
def test_a_task_that_is_no_name(tmp_path: Path, task: object) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"task": task}))
    with pytest.raises(TwinsError, match="a recipe to"):
        parse(["train", "--recipe", str(tmp_path / "r.json")])


@pytest.mark.parametrize("name", ["\0.json", "a" * 300 + ".json", "~nosuchuser/r.json"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(TwinsError, match="not a readable recipe"):
        parse(["train", "--recipe", name])


@pytest.mark.parametrize("value", [{"a": {"b": 1}}, {"depths": [[1]]}, {"a": float("nan")}, {"a": 10**400}])
def test_settings_of_the_network_hold_nothing_in_lists_in_lists(value: dict[str, object]) -> None:
    with pytest.raises(TwinsError, match="--model-kwargs takes a table of settings, each text, a number or a list"):
        ClassifyRecipe(model_kwargs=value)
