"""Classes of the data and of a network: few images, none, a part of them, another order, other names."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.image_files import write_image
from twins.checkpoints.published_names import imagenet_names, imagenet_wordnet_ids
from twins.data.classify.dataset import LabelledImages
from twins.data.classify.layouts import open_labelled
from twins.data.classify.network_classes import labelled_for_network
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe
from twins.tasks.classify import Classification


def folders(root: Path, **counts: int) -> Path:
    """A folder a class, with so many images in each."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            write_image(root / name / f"{i}.png")
    return root


def open_both(root: Path, evaluation_only: bool = False, **settings: object) -> tuple[LabelledImages, LabelledImages]:
    train, val = open_labelled(ClassifyRecipe(data=str(root), **settings), evaluation_only)
    assert train is not None
    return train, val


def test_one_image_of_a_class_is_trained_on_and_told(tmp_path: Path) -> None:
    train, val = open_both(folders(tmp_path, ant=9, bee=1, cat=9), val_split=0.5)
    assert train.labels.count(1) == 1
    assert val.labels.count(1) == 0
    (line,) = train.warnings
    assert line.startswith("one image alone of bee: it is trained on, so no validation image measures the class; add")
    task = Classification(ClassifyRecipe(data=str(tmp_path)))
    task.datasets()
    assert line in task.notes
    assert f"training: {line}" in task.dataset_statistics().warnings


def test_empty_folders_of_classes_are_told_and_left_out_of_training(tmp_path: Path) -> None:
    root = folders(tmp_path, ant=4, bee=0, cat=4)
    train, val = open_both(root, val_split=0.25)
    assert train.classes == val.classes == ("ant", "cat")
    assert sorted(train.labels + val.labels) == [0] * 4 + [1] * 4
    assert train.warnings == (f"{root}: 1 class folders without images: bee",)
    _, every = open_labelled(ClassifyRecipe(data=str(root), val_split=0.0), evaluation_only=True)
    assert every.classes == ("ant", "bee", "cat")  # as the network may have them
    assert set(every.labels) == {0, 2}


def test_an_empty_class_that_the_network_does_not_know_is_no_matter_in_evaluation(tmp_path: Path) -> None:
    _, val = open_both(folders(tmp_path, ant=4, bee=0, cat=4), evaluation_only=True, val_split=0.25)
    assert val.classes == ("ant", "bee", "cat")
    met = labelled_for_network(val, ("cat", "ant"), str(tmp_path))
    assert (met.classes, [met.classes[label] for label in met.labels]) == (("cat", "ant"), ["ant", "cat"])


def test_validation_images_of_an_empty_class_are_refused(tmp_path: Path) -> None:
    folders(tmp_path / "train", ant=4, bee=0, cat=4)
    folders(tmp_path / "val", ant=1, bee=1)
    with pytest.raises(TwinsError, match=r"bee.0\.png: no training image of class 'bee'"):
        open_labelled(ClassifyRecipe(data=str(tmp_path)))


def test_images_without_folders_are_for_predict(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png")
    with pytest.raises(TwinsError, match="1 images without a folder a class.* `twins predict` takes images without"):
        open_labelled(ClassifyRecipe(data=str(tmp_path), val_split=0.0), evaluation_only=True)


def images(*classes: str) -> LabelledImages:
    """One of each class."""
    return LabelledImages([Path(f"{name}.png") for name in classes], range(len(classes)), classes)


# The 1000 ids of ImageNet's classes in order: the first, the 218th and the last.
TENCH, SPRINGER, TISSUE = "n01440764", "n02102040", "n15075141"


def test_classes_are_met_by_name_in_any_order_and_number() -> None:
    met = labelled_for_network(images("cat", "ant"), ("ant", "bee", "cat"), "here")
    assert (met.labels, met.classes) == ([2, 0], ("ant", "bee", "cat"))
    with pytest.raises(TwinsError, match=r"class 'act' is none of the 2 that the network knows \(did you mean"):
        labelled_for_network(images("act"), ("ant", "cat"), "here")


UNNAMED = tuple(map(str, range(1000)))


@pytest.mark.parametrize("network", [UNNAMED, imagenet_names()], ids=["unnamed", "published"])
def test_wordnet_ids_are_imagenets(network: tuple[str, ...]) -> None:
    met = labelled_for_network(images(TISSUE, SPRINGER, TENCH), network, "here")
    assert met.labels == [999, 217, 0]
    assert (len(met.classes), met.classes[217]) == (1000, "English springer")
    with pytest.raises(TwinsError, match="class 'n00000001' is none of the 1000"):
        labelled_for_network(images(TENCH, "n00000001"), network, "here")
    every = labelled_for_network(images(*imagenet_wordnet_ids()), network, "here")
    assert list(every.labels) == list(range(1000))


def test_as_many_classes_as_imagenet_has_are_in_its_order_unless_one_has_a_name_of_it() -> None:
    others = [f"{label:03d}.{name}" for label, name in enumerate(imagenet_names())]
    every = images(*others)
    assert labelled_for_network(every, imagenet_names(), "here") is every
    others[134] = "goldfish"
    with pytest.raises(TwinsError, match="class '000.tench' is none of the 1000"):
        labelled_for_network(images(*others), imagenet_names(), "here")


def test_numbers_stand_for_the_classes_in_order() -> None:
    met = labelled_for_network(images("0", "1"), ("ant", "bee", "cat"), "here")
    assert (list(met.labels), met.classes) == ([0, 1], ("ant", "bee", "cat"))
    unnamed = tuple(map(str, range(12)))
    assert labelled_for_network(images("10", "7"), unnamed, "here").labels == [10, 7]
    same_number = images("cat", "dog")
    assert labelled_for_network(same_number, ("0", "1"), "here") is same_number
    named_by_digits = labelled_for_network(images("0", "1"), ("1", "0"), "here")
    assert named_by_digits.labels == [1, 0]


def test_classes_that_cannot_be_told_need_names() -> None:
    message = r"here: has 2 classes, cat, dog; the network tells 1000 apart .*: pass --classes FILE"
    with pytest.raises(TwinsError, match=message):
        labelled_for_network(images("cat", "dog"), UNNAMED, "here")
    with pytest.raises(TwinsError, match=r"'dog' is none of the 1000 .* \(did you mean .*; if its classes are not Im"):
        labelled_for_network(images("tench", "dog"), imagenet_names(), "here")
