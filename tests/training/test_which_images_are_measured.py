"""Validation images of a run stay its validation images, and evaluation says which images it measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.image_files import write_image
from helpers.tiny import make_images
from twins.checkpoints.info import read_info
from twins.cli import main
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe, DetectRecipe, SegmentRecipe
from twins.tasks import make_task
from twins.training import evaluation
from twins.training.evaluation import evaluate_checkpoint, recipe_of_checkpoint
from twins.training.loop import fit
from twins.training.remembered_split import known_split

pytestmark = pytest.mark.usefixtures("without_plots")


@pytest.fixture
def flat_recipe(tiny_recipe: ClassifyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClassifyRecipe:
    """An epoch on `data`, 20 images without parts, named from the folder that it lies in."""
    make_images(tmp_path, {"ant": 0, "bee": 120}, data=10)
    monkeypatch.chdir(tmp_path)
    return tiny_recipe.replace(data="data", output="runs", epochs=1)


def set_aside(run: Path) -> list[str]:
    """The names that a run lists."""
    return sorted(json.loads((run / "split.json").read_text())["val"])


def images_measured(source: Path, **changes: Any) -> set[str]:
    """The files that an evaluation of a checkpoint measures."""
    task = make_task(recipe_of_checkpoint(source, changes=changes))
    _, images = task.datasets(evaluation_only=True)
    return {images.images.name(i) for i in range(len(images))}


def add_images(folder: Path) -> None:
    for file in list(folder.glob("*/*.png")):
        shutil.copy(file, file.with_stem(f"{file.stem}-new"))


def forget_split(checkpoint: Path) -> None:
    """Make a checkpoint of an earlier version."""
    content = torch.load(checkpoint, weights_only=True)
    del content["meta"]["split"]
    torch.save(content, checkpoint)


def test_the_checkpoint_remembers_the_split_by_name(flat_recipe: ClassifyRecipe) -> None:
    run = fit(flat_recipe).folder
    info = read_info(run / "checkpoint_best.pth")
    names = [name.removeprefix("data/") for name in set_aside(run)]
    assert info.split == {"val": names, "images": 20}
    assert len(names) == 4
    assert "split" not in json.loads((run / "recipe.json").read_text())["recipe"]


def test_no_split_is_kept_where_the_data_names_validation_images(
    tiny_recipe: ClassifyRecipe, tiny_segment_recipe: SegmentRecipe, tiny_detect_recipe: DetectRecipe
) -> None:
    for recipe in (tiny_recipe, tiny_segment_recipe, tiny_detect_recipe):
        task = make_task(recipe)
        task.datasets()
        assert task.part == "val"
        assert "split" not in task.meta()


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_every_task_keeps_its_split(
    tiny_segment_recipe: SegmentRecipe, tiny_detect_recipe: DetectRecipe, task: str
) -> None:
    recipe = tiny_segment_recipe if task == "segment" else tiny_detect_recipe
    root = Path(recipe.data)
    for validation in (*root.glob("*/val"), *root.glob("*/instances_val.json")):
        shutil.rmtree(validation) if validation.is_dir() else validation.unlink()
    for checked in (True, False):
        kept = make_task(recipe.replace(check=checked))  # type: ignore[call-arg]
        kept.datasets()
        split = kept.meta()["split"]
        assert (len(split["val"]), split["images"]) == (3, 12)
        assert any("no validation images named; 3 of 12 images are set aside" in note for note in kept.notes)
        assert all((root / name).is_file() for name in split["val"])


@pytest.mark.parametrize("spelling", ["data", "data/", "./data", "absolute", "link", "runs/../data", "moved"])
def test_every_spelling_of_the_runs_own_data_means_its_validation_images(
    flat_recipe: ClassifyRecipe, capsys: pytest.CaptureFixture[str], spelling: str
) -> None:
    run = fit(flat_recipe).folder
    Path("link").symlink_to("data")
    data = {"absolute": str(Path("data").absolute())}.get(spelling, spelling)
    if spelling == "moved":
        Path("data").rename("moved")
    assert main(["eval", "--weights", str(run / "checkpoint.pth"), "--data", data]) == 0
    assert f"  on 4 validation images of {data}\n" in capsys.readouterr().out
    measured = {name.removeprefix(str(Path(data))) for name in images_measured(run / "checkpoint.pth", data=data)}
    assert measured == {name.removeprefix("data") for name in set_aside(run)}


def test_other_data_is_measured_whole_or_by_its_parts(
    flat_recipe: ClassifyRecipe, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = ["--weights", str(fit(flat_recipe).folder / "checkpoint.pth")]
    make_images(Path("other"), {"ant": 0, "bee": 120}, flat=2, train=3, Test=4)
    shutil.move("other/flat", "flat")
    capsys.readouterr()
    for data, part, said in (
        ("flat", "val", "on 4 images of flat"),
        ("other", "train", "on 6 training images of other"),
        ("other", "test", "on 8 test images of other"),
        ("other", "val", "on 6 training images of other"),
    ):
        assert main(["eval", *weights, "--data", data, "--part", part]) == 0
        out = capsys.readouterr().out
        assert f"  {said}\n" in out
        assert ("other: test images are left for eval --part test" in out) == (said.split()[2] == "training")
    assert main(["eval", *weights, "--data", "flat", "--part", "test"]) == 2
    assert capsys.readouterr().err == "twins: flat: no test images there\n"
    assert main(["eval", *weights, "--part", "train"]) == 0
    assert "  on 16 training images of data\n" in capsys.readouterr().out
    assert main(["eval", *weights, "--part", "dev"]) == 2
    assert re.search("--part.*'dev'", capsys.readouterr().err)


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_images_added_later_do_not_change_what_is_measured(flat_recipe: ClassifyRecipe, version: str) -> None:
    """Of an earlier version's checkpoint the list beside it tells what was set aside."""
    run = fit(flat_recipe).folder
    if version == "earlier":
        forget_split(run / "checkpoint.pth")
    before = set_aside(run)
    add_images(Path("data"))
    assert images_measured(run / "checkpoint.pth") == set(before)
    fit(flat_recipe.replace(epochs=2), folder=run, resume=run / "checkpoint.pth")
    assert set_aside(run) == before
    said = (run / "console.txt").read_text()
    assert "data: 36 training images, 4 validation images (data)" in said
    added = "data: 20 images were added since the validation images were set aside: they are for training\n"
    assert (added in said) == (version == "this")
    assert read_info(run / "checkpoint.pth").split["images"] == 40
    again = fit(flat_recipe.replace(name="new")).folder
    assert set_aside(again) != before  # a new run draws from all images


def test_validation_images_that_are_gone_are_told(
    flat_recipe: ClassifyRecipe, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(flat_recipe).folder
    Path(set_aside(run)[0]).unlink()
    capsys.readouterr()
    assert main(["eval", "--weights", str(run / "checkpoint.pth")]) == 0
    out = capsys.readouterr().out
    assert "data: 1 of 4 validation images are gone\n" in out
    assert "  on 3 validation images of data\n" in out


def test_lists_of_the_first_version_are_read(flat_recipe: ClassifyRecipe) -> None:
    run = fit(flat_recipe).folder
    forget_split(run / "checkpoint.pth")
    info = read_info(run / "checkpoint.pth")
    names = tuple(name.removeprefix("data/") for name in set_aside(run))
    (run / "split.json").write_text(json.dumps({"held_out": set_aside(run)}))
    assert known_split(info) == (names, None)
    (run / "split.json").write_text('{"val": "a.png"}')
    with pytest.raises(TwinsError, match=r"split\.json: does not list the validation images under `val`"):
        known_split(info)
    (run / "split.json").unlink()
    assert known_split(info) is None


@pytest.mark.parametrize("split", [[], {"val": "a.png"}, {"val": ["a.png"]}, {"val": [1], "images": 3},
                                   {"val": ["a.png"], "images": "many"}])  # fmt: skip
def test_a_checkpoint_with_another_kind_of_split_is_refused(flat_recipe: ClassifyRecipe, split: Any) -> None:
    path = fit(flat_recipe).folder / "checkpoint.pth"
    content = torch.load(path, weights_only=True)
    content["meta"]["split"] = split
    torch.save(content, path)
    with pytest.raises(TwinsError, match=r"meta: split holds .*, not the names of validation images"):
        read_info(path)


def test_a_file_of_annotations_is_its_folder(tiny_detect_recipe: DetectRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data, whether a run was given the folder or the file, and evaluation the other."""
    root = Path(tiny_detect_recipe.data)
    file = root / "annotations" / "instances_default.json"
    (root / "annotations" / "instances_train.json").rename(file)
    (root / "annotations" / "instances_val.json").unlink()
    monkeypatch.setattr(evaluation, "validate", lambda task, model, val, *_: {"images": float(len(val))})
    monkeypatch.chdir(root.parent)
    (root / "default").symlink_to(root / "train")
    for own, other in ((root, file), (file, root), (file, Path(root.name, "annotations", file.name))):
        recipe = tiny_detect_recipe.replace(data=str(own), epochs=1, name=own.stem, exist_ok=True)
        task = make_task(recipe)
        task.datasets()
        checkpoint = {
            "format": "twins-1",
            "model": task.build().state_dict(),
            "meta": task.meta() | {"recipe": recipe.to_dict()},
        }
        torch.save(checkpoint, root.parent / "run.pth")
        measured = evaluate_checkpoint(
            recipe_of_checkpoint(root.parent / "run.pth", changes={"data": str(other)}),
            root.parent / "run.pth",
            announce=lambda *_: None,
        )
        assert measured == {"images": 3.0}


def test_parts_of_coco_and_yolo_are_measured(boxed_images: Path, tmp_path: Path) -> None:
    annotations = boxed_images / "annotations"
    shutil.copy(annotations / "instances_val.json", annotations / "instances_test.json")
    shutil.copytree(boxed_images / "val", boxed_images / "test")
    for part, count in (("train", 12), ("val", 6), ("test", 6)):
        task = make_task(DetectRecipe(data=str(boxed_images), part=part, check=False))
        _, images = task.datasets(evaluation_only=True)
        assert (len(images), task.part, Path(images.images.name(0)).parent.name) == (count, part, part)
    yolo = tmp_path / "yolo"
    (yolo / "labels").mkdir(parents=True)
    (yolo / "data.yaml").write_text("names: [a, b]\nTrain: images/tr\nvalid: images/va\ntest: images/te\n")
    for name in ("tr", "va", "te"):
        write_image(yolo / "images" / name / f"{name}.png")
        (yolo / "labels" / name).mkdir()
        (yolo / "labels" / name / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    for part, stem in (("train", "tr"), ("val", "va"), ("test", "te")):
        task = make_task(DetectRecipe(data=str(yolo), part=part, check=False))
        _, images = task.datasets(evaluation_only=True)
        assert (task.part, [Path(images.images.name(i)).stem for i in range(len(images))]) == (part, [stem])
