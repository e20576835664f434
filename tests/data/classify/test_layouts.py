"""Images from disk in every layout, and each thing that can be wrong with them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.image_files import write_image
from helpers.tiny import make_images
from twins.data.classify.dataset import LabelledImages
from twins.data.classify.folder import read_folder
from twins.data.classify.layouts import open_labelled
from twins.data.digits import read_digits
from twins.data.images import UnreadableImageError, read_image
from twins.data.split import stratified_split
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe


def test_digits_are_split_alike_everywhere() -> None:
    train, val = read_digits()
    assert (len(train), len(val)) == (1437, 360)
    assert np.bincount(val.labels).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    assert np.asarray(val.images[0]).shape == (8, 8)
    # Which scans are for validation is part of what a metric on them means.
    assert int(np.asarray(val.images, dtype=np.int64).sum()) == 1_805_469


def test_folder_labels_are_indices_into_sorted_classes(images: Path) -> None:
    train, val = read_folder(images)
    assert train is not None
    assert val is not None
    assert train.classes == val.classes == ("ant", "bee", "cat")
    assert (len(train), len(val)) == (36, 15)
    assert all(Path(train.name(i)).parent.name == train.classes[label] for i, label in enumerate(train.labels))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_folder_of_val_images_has_three_names(tmp_path: Path, name: str) -> None:
    _, val = read_folder(make_images(tmp_path, {"a": 0, "b": 9}, train=2, **{name: 1}))
    assert val is not None
    assert len(val) == 2


def test_class_missing_in_val_keeps_labels_of_train(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 0, "b": 50, "c": 99}, train=2)
    make_images(tmp_path, {"c": 99}, val=1)
    _, val = read_folder(root)
    assert val is not None
    assert val.labels == [2]


def test_folder_without_val_is_split(tmp_path: Path) -> None:
    make_images(tmp_path, {"a": 0, "b": 50}, data=10)
    recipe = ClassifyRecipe(data=str(tmp_path / "data"), val_split=0.2)
    train, val = open_labelled(recipe)
    assert train is not None
    assert (len(train), sorted(val.labels)) == (16, [0, 0, 1, 1])
    assert not {train.name(i) for i in range(16)} & {val.name(i) for i in range(4)}
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["a", "b"]


def test_split_depends_on_seed_and_names_alone(tmp_path: Path) -> None:
    names = [f"{c}/{i}.jpg" for c in "ab" for i in range(25)]

    def val(root: str, seed: int) -> list[str]:
        images = LabelledImages([Path(root, name) for name in names], [n[0] == "b" for n in names], ("a", "b"))
        _, val = stratified_split(images, 0.2, seed, images.labels)
        return ["/".join(val.name(i).split("/")[-2:]) for i in range(len(val))]

    assert val("/here", 0) == val("/elsewhere/much/deeper", 0)
    assert val("/here", 0) != val("/here", 1)
    assert len(val("/here", 0)) == 10


def test_labels_may_count_other_classes() -> None:
    images = LabelledImages([Path("a.jpg"), Path("b.jpg")], [1, 0], ("ant", "bee"))
    relabelled = images.relabelled(("bee", "cat", "ant"), "data")
    assert (relabelled.labels, relabelled.classes) == ([0, 2], ("bee", "cat", "ant"))
    with pytest.raises(TwinsError, match="^data: class 'bee' is none of the 2 that the network knows"):
        images.relabelled(("ant", "cat"), "data")


def test_split_leaves_every_class_something_to_train_on() -> None:
    images = LabelledImages([Path(f"x/{i}.jpg") for i in range(12)], [0] * 10 + [1, 2], ("a", "b", "c"))
    train, val = stratified_split(images, 0.5, seed=0, labels=images.labels)
    assert set(train.labels) == {0, 1, 2}
    assert set(val.labels) == {0}


BAD_FOLDERS = {
    "missing": ("no such folder", lambda root: root / "nowhere"),
    "file": ("is not a folder", lambda root: _file(root / "data.zip")),
    "nothing inside": ("no images here", lambda root: _folder(root / "void")),
    "empty class": ("class folder without images", lambda root: _folder(root / "few" / "train" / "dog").parents[1]),
    "one class": ("one class alone ('a')", lambda root: make_images(root / "one", {"a": 1}, train=3, val=1)),
    "only val": ("no training images", lambda root: make_images(root / "v", {"a": 1, "b": 2}, val=3)),
    "too few to split": (
        "no validation image can be split off",
        lambda root: make_images(root / "f", {"a": 1, "b": 2}, train=1),
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folder_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    message, make = BAD_FOLDERS[case]
    root = make(tmp_path)
    with pytest.raises(TwinsError) as error:
        open_labelled(ClassifyRecipe(data=str(root)))
    assert message in str(error.value)
    assert str(root) in str(error.value)
    assert "\n" not in str(error.value)


def test_class_in_val_that_train_lacks(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"ant": 0, "bee": 9}, train=2)
    make_images(tmp_path, {"ant": 0, "wasp": 9}, val=2)
    with pytest.raises(TwinsError, match=r"val: class 'wasp' is not among the classes trained on \(ant, bee\)"):
        read_folder(root)


def test_lists_of_the_original(images: Path) -> None:
    (images / "meta").mkdir()
    for part in ("train", "val"):
        rows = [f"{p.parent.name}/{p.name} {['ant', 'bee', 'cat'].index(p.parent.name)}"
                for p in sorted((images / part).glob("*/*.png"))]  # fmt: skip
        (images / "meta" / f"{part}.txt").write_text("\n".join(rows) + "\n")
    recipe = ClassifyRecipe(data=str(images), dataset="list")
    train, val = open_labelled(recipe)
    assert train is not None
    assert (len(train), len(val), train.classes) == (36, 15, ("0", "1", "2"))
    assert val.open(14, 3).getpixel((0, 0))[0] >= 240  # type: ignore[index]
    (images / "meta" / "classes.txt").write_text("ant\nbee\ncat\nwasp\n")
    assert open_labelled(recipe)[1].classes == ("ant", "bee", "cat", "wasp")
    (images / "meta" / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(TwinsError, match=r"classes\.txt: 2 names, but the lists use labels up to 2"):
        open_labelled(recipe)
    (images / "meta" / "val.txt").write_text("\n\n")
    with pytest.raises(TwinsError, match=r"val\.txt: an empty list"):
        open_labelled(recipe)
    (images / "meta" / "val.txt").write_text("ant/00.png 0\nant/01.png\n")
    with pytest.raises(TwinsError, match=r"val\.txt:2: expected a path and a label"):
        open_labelled(recipe)
    for part in ("train", "val"):
        (images / "meta" / f"{part}.txt").unlink()
    with pytest.raises(TwinsError, match=r"meta.train\.txt: no such list"):
        open_labelled(recipe)


def test_inaturalist_classes_come_in_the_order_of_training_annotations(tmp_path: Path) -> None:
    categories = [{"id": 7, "name": "Apis mellifera", "order": "Hymenoptera"},
                  {"id": 3, "name": "Felis catus", "order": "Carnivora"},
                  {"id": 9, "name": "Vespa crabro", "order": "Hymenoptera"}]  # fmt: skip
    (tmp_path / "categories.json").write_text(json.dumps(categories))
    for part, ids in (("train", [9, 3, 7]), ("val", [7, 3])):
        images = [{"id": i, "file_name": f"train_val2018/Super/{c}/{part}{i}.jpg"} for i, c in enumerate(ids)]
        annotations = [{"image_id": i, "category_id": c} for i, c in enumerate(ids)]
        (tmp_path / f"{part}2018.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    train, val = open_labelled(ClassifyRecipe(data=str(tmp_path)))
    assert train is not None
    assert train.classes == ("Vespa crabro", "Felis catus", "Apis mellifera")
    assert val.labels == [2, 1]
    assert val.name(0) == str(tmp_path / "train_val2018" / "7" / "val0.jpg")  # without the super-category
    _, val = open_labelled(ClassifyRecipe(data=str(tmp_path), inat_category="order"))
    assert (val.classes, val.labels) == (("Hymenoptera", "Carnivora"), [0, 1])
    with pytest.raises(TwinsError, match="no 'genus' there"):
        open_labelled(ClassifyRecipe(data=str(tmp_path), inat_category="genus"))


def write_cifar(folder: Path, meta: object) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 4)):
        pixels = rng.integers(0, 256, (count, 3072)).astype(np.uint8)
        batch = {b"data": pixels, b"fine_labels": [i % 2 for i in range(count)]}
        (folder / part).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))


def test_cifar_pickles_are_read(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar-100-python", {b"fine_label_names": [b"apple", b"bear"]})
    train, val = open_labelled(ClassifyRecipe(data=str(tmp_path)))
    assert train is not None
    assert (len(train), len(val), val.classes) == (6, 4, ("apple", "bear"))
    stored = np.random.default_rng(0).integers(0, 256, (6, 3072)).astype(np.uint8)[0].reshape(3, 32, 32)
    np.testing.assert_array_equal(np.asarray(train.open(0, 3)), stored.transpose(1, 2, 0))


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_cifar_pickle_that_asks_to_run_code_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    write_cifar(tmp_path / "cifar-100-python", _Touch(marker))
    with pytest.raises(TwinsError, match="meta: not a CIFAR-100 file .*was not run"):
        open_labelled(ClassifyRecipe(data=str(tmp_path)))
    assert not marker.exists()


def test_images_are_turned_upright_by_their_exif_tag(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    image.paste((255, 0, 0), (0, 0, 20, 20))  # red on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) == (255, 0, 0)
    assert upright.getpixel((10, 35)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_of_image_becomes_grey_or_colour(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I;16") else "x.png")
    Image.new(mode, (5, 4)).save(path)
    assert (read_image(path).mode, read_image(path, channels=1).mode) == ("RGB", "L")


def test_broken_images_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(whole)
    content = whole.read_bytes()
    broken = {"truncated.jpg": content[: len(content) // 2], "empty.jpg": b"", "text.jpg": b"<html>404</html>",
              "header.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 40}  # fmt: skip
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableImageError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(UnreadableImageError, match="gone"):
        read_image(tmp_path / "gone.jpg")


def test_channels_that_images_do_not_have(tmp_path: Path) -> None:
    with pytest.raises(TwinsError, match="1 or 3 channels"):
        read_image(tmp_path / "any.jpg", channels=5)


def _file(path: Path) -> Path:
    path.write_bytes(b"PK")
    return path


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


# Parts of the data

PARTED = {  # the folders, with images in each; those of training and of validation, and of a test
    "capitals": ("Training/a Training/b Val/a Val/b Testing/a Testing/b", "Training", "Val", "Testing"),
    "sets": ("training_set/a training_set/b test_set/a test_set/b", "training_set", None, "test_set"),
    "train alone": ("train/a train/b", "train", None, None),
    "no training": ("TEST/a TEST/b valid/a valid/b", None, "valid", "TEST"),
    "a class called train": ("bus train car", "", None, None),
    "a class called test": ("exam test quiz", "", None, None),
    "a class that mentions training": ("training_shoes boots", "", None, None),
}


@pytest.mark.parametrize("case", PARTED)
def test_parts_are_told_by_their_names(tmp_path: Path, case: str) -> None:
    folders, *parts = PARTED[case]
    for folder in folders.split():
        write_image(tmp_path / folder / "x.png")
    (train, val), roots = read_folder(tmp_path), [None if part is None else tmp_path / part for part in parts]
    read = [train, val]
    if parts[2] is None:
        with pytest.raises(TwinsError, match="no test images there"):
            read_folder(tmp_path, "test")
    else:
        read.append(read_folder(tmp_path, "test")[1])
    assert [images and Path(images.name(0)).parents[1] for images in read] == roots[: len(read)]
    assert train is None or len(train) == len(train.classes)


NO_CLASSES = {
    "parts of images": (
        "test valid",
        r"test/, valid/ look like parts of the data, not classes; call them train/, val/",
    ),
    "in capitals": ("Training Testing", "Testing/, Training/ look like parts of the data"),
    "with something else": ("train test notes", "test/, train/ look like parts of the data"),
    "under other names": ("seg_train/a seg_train/b seg_test/a seg_test/b seg_pred/x", "seg_test/, seg_train/ look"),
    "one level up": (
        "flowers/train/a flowers/val/a other",
        r"flowers: holds train/, val/, which .*: pass it as --data",
    ),
    "inside the classes": ("a/train a/test b/train b/test", r"a: holds train/, test/, which look like parts"),
}


@pytest.mark.parametrize("case", NO_CLASSES)
def test_parts_do_not_pass_for_classes(tmp_path: Path, case: str) -> None:
    folders, message = NO_CLASSES[case]
    for folder in folders.split():
        write_image(tmp_path / folder / "x.png")
    with pytest.raises(TwinsError, match=message):
        read_folder(tmp_path)


def test_folders_beside_the_parts_are_told(tmp_path: Path) -> None:
    for folder in ("train/a", "train/b", "val/a", "valid/a", "extra/a", "Test/a", ".cache/a"):
        write_image(tmp_path / folder / "x.png")
    train, val = read_folder(tmp_path)
    assert train is not None
    assert val is not None
    assert train.warnings == (
        f"{tmp_path}: not read, as none of train/, val/ and test/: valid/, extra/",
        f"{tmp_path}: test images are left for eval --part test",
    )
    assert (val.warnings, Path(val.name(0)).parents[1].name) == ((), "val")


def test_lists_of_a_test_part(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    for part, label in (("Train", 0), ("validation", 1), ("test", 2)):
        (tmp_path / "meta" / f"{part}.txt").write_text(f"{part}.jpg {label}\n")
        write_image(tmp_path / f"{part}.jpg")
    recipe = ClassifyRecipe(data=str(tmp_path))
    train, val = open_labelled(recipe)
    assert train is not None
    assert train.warnings[0] == f"{tmp_path / 'meta'}: test images are left for eval --part test"
    _, test = open_labelled(recipe.replace(part="test"), evaluation_only=True)
    assert [(Path(part.name(0)).stem, part.labels) for part in (train, val, test)] == [
        ("Train", [0]), ("validation", [1]), ("test", [2]),
    ]  # fmt: skip


def test_layouts_of_two_parts_have_no_test_part() -> None:
    with pytest.raises(TwinsError, match="digits: no test images there; pass --part train or val for those"):
        open_labelled(ClassifyRecipe(part="test"), evaluation_only=True)
    _, train = open_labelled(ClassifyRecipe(part="train"), evaluation_only=True)
    assert (len(train), train.part) == (1437, "train")
