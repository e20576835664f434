"""Data whose classes are a network's in another order, or some of them, measured by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from twins.data.boxes.class_mapping import with_classes_of
from twins.data.boxes.coco import read_coco
from twins.data.boxes.dataset import BoxedImages
from twins.errors import TwinsError
from twins.metrics.detection import DetectionMetrics
from twins.recipes import DetectRecipe
from twins.tasks.detect import Detection


def renumbered(root: Path, *categories: tuple[int, str]) -> BoxedImages:
    """Validation images of `boxed_images` whose categories have other numbers, each object that of its name."""
    file = root / "annotations/instances_val.json"
    content = json.loads(file.read_text())
    number = {name: id for id, name in categories}
    name_of = {row["id"]: row["name"] for row in content["categories"]}
    content["annotations"] = [
        {**row, "category_id": number[name_of[row["category_id"]]]}
        for row in content["annotations"]
        if name_of[row["category_id"]] in number
    ]
    content["categories"] = [{"id": id, "name": name} for id, name in categories]
    (root / "others_val.json").write_text(json.dumps(content))
    images = read_coco(root / "others_val.json")[1]
    assert images is not None
    return images


def labels_of(images: BoxedImages) -> list[list[int]]:
    return [objects.labels.tolist() for objects in images.objects]


def test_labels_follow_the_names(boxed_images: Path) -> None:
    known = renumbered(boxed_images, (7, "white"), (40, "grey"))
    assert known.classes == ("white", "grey")
    assert with_classes_of(known, known.classes, "data") is known
    swapped = renumbered(boxed_images, (1, "grey"), (2, "white"))
    mapped = with_classes_of(swapped, known.classes, "data")
    assert (mapped.classes, mapped.category_ids) == (("white", "grey"), (2, 1))
    assert labels_of(mapped) == labels_of(known) != labels_of(swapped)
    assert labels_of(mapped.subset([1, 3])) == [labels_of(known)[i] for i in (1, 3)]


def test_classes_that_the_data_lacks_get_numbers_that_are_free(boxed_images: Path) -> None:
    images = renumbered(boxed_images, (9, "grey"))
    mapped = with_classes_of(images, ("black", "grey", "white"), "data")
    assert mapped.category_ids == (10, 9, 11)
    assert {label for labels in labels_of(mapped) for label in labels} == {1}


@pytest.mark.parametrize(("name", "hint"), [
    ("White", " (did you mean 'white'?)"),
    ("WHITE", " (did you mean 'white'?)"),
    ("traffic_light", " (did you mean 'traffic light'?)"),
    ("whites", " (did you mean white?)"),
    ("bird", ""),
])  # fmt: skip
def test_other_classes_are_refused_with_the_nearest(boxed_images: Path, name: str, hint: str) -> None:
    images = renumbered(boxed_images, (1, "grey"), (2, name))
    with pytest.raises(TwinsError) as error:
        with_classes_of(images, ("grey", "white", "traffic light"), "data")
    assert str(error.value) == (
        f"data: class {name!r} is none of the 3 that the network knows{hint}; call it as there, leave it out, or train "
        "a network for these classes"
    )


@pytest.mark.parametrize("categories", [((1, "grey"), (2, "white")), ((5, "grey"),)])
def test_a_network_is_measured_by_name(
    boxed_images: Path, tiny_detect_recipe: DetectRecipe, categories: tuple[tuple[int, str], ...]
) -> None:
    """Detections that are the truth in the network's numbers score 100 %, and results name the data's categories."""
    known = ("black", "white", "grey")
    images = renumbered(boxed_images, *categories)
    truth = [[images.classes[label] for label in labels] for labels in labels_of(images)]
    task = Detection(tiny_detect_recipe.replace(data=str(boxed_images / "others_val.json")), known)
    task.datasets(evaluation_only=True)
    assert task.notes[0].endswith(
        f"its {len(categories)} classes are found by name among the 3 classes that the network knows"
    )
    metrics = DetectionMetrics(task.truth, masks=False)
    for index, objects in enumerate(task.truth.objects):
        boxes = torch.from_numpy(objects.boxes).clone()
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([known.index(name) for name in truth[index]], dtype=torch.int64)
        metrics.update(index, {"boxes": boxes, "labels": labels, "scores": torch.ones(len(boxes))})
    assert dict(metrics.compute())["ap"] == pytest.approx(100)
    assert metrics.per_class().objects.tolist()[0] == 0
    assert {result["category_id"] for result in metrics.results()} == {id for id, _ in categories}
