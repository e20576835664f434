"""YOLO's layout: what the YAML file may say, where labels are looked for, and what their lines mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.image_files import write_image
from twins.data.boxes.dataset import BoxedImages
from twins.data.boxes.layouts import open_boxed
from twins.data.boxes.yolo import read_yolo
from twins.errors import TwinsError
from twins.recipes import DetectRecipe

NAMES = "names: [cat, dog]\n"
PARTS = "train: images/train\nval: images/val\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_pair(image: Path, labels: str = "0 0.5 0.5 0.5 0.5\n") -> None:
    """An image in `images/`, and its labels in `labels/`."""
    write_image(image)
    write(Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt"), labels)


def training(root: Path, labels: str, yaml: str = NAMES + PARTS) -> BoxedImages:
    """The training part, of one image with these labels."""
    write(root / "data.yaml", yaml.replace("val: images/val\n", ""))
    write_pair(root / "images/train/a.png", labels)
    train, _ = read_yolo(root)
    assert train is not None
    return train


def refused(root: Path) -> str:
    with pytest.raises(TwinsError) as error:
        read_yolo(root)
    assert "\n" not in str(error.value)
    return str(error.value)


def names_of(images: BoxedImages | None) -> list[str] | None:
    return None if images is None else [Path(images.name(i)).stem for i in range(len(images))]


# The YAML file

YAMLS = {
    "as usual": "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n  0: cat\n  1: dog\n",
    "list of names": "train: images/train\nval: images/val\nnc: 2\nnames: ['cat', 'dog']\n",
    "relative path": "path: {folder}\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
    "absolute path": "path: {root}\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
    "path of another machine": "path: /somewhere/else\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
    "path of another folder": "path: ../datasets/pets\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
    "one folder up": "train: ../images/train\nval: ../images/val\nnames: [cat, dog]\n",
    "absolute parts": "train: {root}/images/train\nval: {root}/images/val\nnames: [cat, dog]\n",
    "lists of folders": "train: [images/train]\nval:\n  - images/val\nnames: [cat, dog]\n",
    "lists of files": "train: train.txt\nval: [val.txt]\nnames: [cat, dog]\n",
    "of Windows": "path: .\\\ntrain: images\\train\nval: .\\images\\val\nnames: [cat, dog]\n",
    "null": "path: ~\ntrain: images/train\nval: images/val\ntest: null\nnc:\nnames: [cat, dog]\n",
    "numbers in text": "train: images/train\nval: images/val\nnc: '2'\nnames: {{'1': dog, '0': cat}}\n",
}


@pytest.mark.parametrize("case", YAMLS)
@pytest.mark.parametrize("file", ["data.yaml", "pets.yml"])
def test_yaml_files_are_understood(tmp_path: Path, case: str, file: str) -> None:
    root = tmp_path / "pets"
    for image in ("train/b.jpg", "train/deep/a.png", "val/c.png", "test/d.png"):
        write_pair(root / "images" / image)
    write(root / "train.txt", "./images/train/b.jpg\n\nimages/train/deep/a.png\n")
    write(root / "val.txt", f"{root}/images/val/c.png\n")
    path = write(root / file, YAMLS[case].format(folder="../pets", root=root))
    write(root / "compose.yaml", "services:\n  web: {}\n")
    for data in (root, path):
        train, val = read_yolo(data)
        assert (names_of(train), names_of(val)) == (["b", "a"], ["c"])
        assert train is not None
        assert (train.classes, train.category_ids) == (("cat", "dog"), (0, 1))
        assert train.read(1, 3)[1]["boxes"].tolist() == [[2, 1.5, 6, 4.5]]


def test_names_are_text_as_it_is_written(tmp_path: Path) -> None:
    """Where YAML would make truth, dates and numbers of it."""
    names = ("no", "on", "2024-01-01", "1.0", "010", "null")
    yaml = 'names: [no, on, 2024-01-01, 1.0, 010, "null"]\n' + PARTS
    assert training(tmp_path, "5 0.5 0.5 0.5 0.5", yaml).classes == names


def test_paths_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "elsewhere/data.yaml", "path: ~/pets\ntrain: images/train\n" + NAMES)
    write_pair(tmp_path / "pets/images/train/a.png")
    assert names_of(read_yolo(tmp_path / "elsewhere")[0]) == ["a"]


def test_layout_of_roboflow(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n" + NAMES)
    for part in ("train", "valid"):
        write_pair(tmp_path / part / "images/a.png", "1 0.5 0.5 1 1\n")
    for images in read_yolo(tmp_path):
        assert images is not None
        assert images.objects[0].labels.tolist() == [1]


def test_layout_without_yaml(tmp_path: Path) -> None:
    write(tmp_path / "classes.txt", "cat\ndog\n")
    for part in ("train", "valid"):
        write_pair(tmp_path / f"images/{part}/{part}.png")
    train, val = read_yolo(tmp_path)
    assert (names_of(train), names_of(val)) == (["train"], ["valid"])
    write(tmp_path / "flat/classes.txt", "cat\ndog\n")
    write_pair(tmp_path / "flat/images/a.png")
    train, val = read_yolo(tmp_path / "flat")
    assert (names_of(train), val) == (["a"], None)


def test_labels_are_found_beside_the_last_folder_of_images(tmp_path: Path) -> None:
    root = tmp_path / "images" / "set"
    write(root / "data.yaml", NAMES + "train: images/train\nval: plain\n")
    write_image(root / "images/train/a.png")
    write(root / "labels/train/a.txt", "1 0.5 0.5 1 1")
    write_image(tmp_path / "images/set/plain/b.png")
    write(tmp_path / "labels/set/plain/b.txt", "0 0.5 0.5 1 1")
    labels = [images.objects[0].labels.tolist() for images in read_yolo(root) if images]
    assert labels == [[1], [0]]


BAD_YAMLS = {
    "broken": ("data.yaml: not readable as YAML (", "names: [a\ntrain: x"),
    "no fields": ("data.yaml: holds no fields; expected `names`, `train` and `val`", "- a\n"),
    "no names": ("data.yaml: no `names` there; list those of the classes", PARTS),
    "names of a number": ("data.yaml: names are '5'; expected a list", "names: 5\n" + PARTS),
    "no name": ("data.yaml: names are []; expected a list", "names: []\n" + PARTS),
    "names with a gap": (
        "names are {'0': 'a', '2': 'b'}; expected a list, or numbers",
        "names: {0: a, 2: b}\n" + PARTS,
    ),
    "names twice": ("names are ['a', 'a']; each class has its own", "names: [a, a]\n" + PARTS),
    "another count": ("nc is '3', but there are 2 names; leave nc away", "nc: 3\n" + NAMES + PARTS),
    "no folder": ("data.yaml: train names 'images/gone', but there is no", NAMES + "train: images/gone\n"),
    "no images": ("data.yaml: no images in val, 'empty'", NAMES + "train: images/train\nval: empty\n"),
    "an alias": ("data.yaml: not readable as YAML (alias *a: write it out in", "names: &a [a]\nmore: [*a, *a]\n"),
    "nesting": ("data.yaml: not readable as YAML (lists in lists in lists", "names: " + "[" * 50_000),
    "names of lists": ("data.yaml: the name of class 1 is ['b']; expected text", "names: [a, [b]]\n" + PARTS),
    "an empty name": ("data.yaml: the name of class 1 is None; expected text", "names:\n- a\n-\n" + PARTS),
    "no count": ("data.yaml: nc is 'two', but there are 2 names", "nc: two\n" + NAMES + PARTS),
    "a part of fields": ("data.yaml: train names {'a': 'b'}; expected a folder", NAMES + "train: {a: b}\n"),
    "a long name": ("data.yaml: train names 'aaaaaaaa", NAMES + f"train: {'a' * 10_000}\n"),
    "list of nothing there": (
        "train.txt: none of the 2 images that it names is there, as 'gone/a.png'; paths count from",
        NAMES + "train: train.txt\n",
    ),
    "no parts": ("data.yaml: no images for training or validation; expected data.yaml", NAMES + "train:\n"),
}


@pytest.mark.parametrize("case", BAD_YAMLS)
def test_bad_yaml_files_are_named(tmp_path: Path, case: str) -> None:
    gist, text = BAD_YAMLS[case]
    write_pair(tmp_path / "images/train/a.png")
    write_pair(tmp_path / "images/val/b.png")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "train.txt", "gone/a.png\ngone/b.png\n")
    write(tmp_path / "data.yaml", text)
    message = refused(tmp_path)
    assert gist in message
    assert message.startswith(str(tmp_path / gist.split(": ")[0] if ".txt" in gist else tmp_path / "data.yaml"))
    assert len(message) < 1000


def test_several_yaml_files_or_none(tmp_path: Path) -> None:
    assert "no data.yaml or classes.txt of YOLO's layout; --data takes a folder with data.yaml" in refused(tmp_path)
    for name in ("a.yaml", "b.yml"):
        write(tmp_path / name, NAMES + PARTS)
    assert "which of a.yaml, b.yml to take is unclear; keep one, or pass it as --data" in refused(tmp_path)


# Lines


def test_boxes_are_shares_of_the_upright_image(tmp_path: Path) -> None:
    images = training(tmp_path, "1 0.5 0.25 0.5 0.5\n\n0 0.125 0.5 0.25 1\n")
    assert images.objects[0].boxes.tolist() == [[2, 0, 4, 3], [0, 0, 2, 6]]
    assert (images.objects[0].labels.tolist(), images.objects[0].areas.tolist()) == ([1, 0], [12, 12])
    assert (images.sizes, list(images.image_ids), images.has_masks) == ([(6, 8)], [1], False)
    assert images.object_name(0, 1) == f"{images.name(0)}: line 3"
    write_image(tmp_path / "images/train/a.png", 8, 6, turned=True)
    train, _ = read_yolo(tmp_path)
    assert train is not None
    assert (train.sizes, train.objects[0].boxes.tolist()) == ([(8, 6)], [[1.5, 0, 3, 4], [0, 0, 1.5, 8]])
    image, target = train.read(0, 3)
    assert (image.size, target["boxes"].tolist()) == ((6, 8), [[1.5, 0, 4.5, 4], [0, 0, 1.5, 8]])


def test_polygons_are_segmentations(tmp_path: Path) -> None:
    images = training(tmp_path, "0 0.25 0 0.75 0 0.75 0.5 0.25 0.5\n1 0 0 0.5 0 0 1\n")
    assert images.objects[0].boxes.tolist() == [[2, 0, 4, 3], [0, 0, 4, 6]]
    _, target = images.read(0, 3)
    assert images.has_masks
    square = np.zeros((6, 8), dtype=np.uint8)
    square[:3, 2:6] = 1
    assert target["masks"][0].equal(torch.from_numpy(square))
    assert images.objects[0].areas.tolist() == target["masks"].sum(dim=(1, 2)).tolist()
    mixed = training(tmp_path, "0 0.25 0 0.75 0 0.75 0.5 0.25 0.5\n1 0.5 0.5 1 1\n")
    assert mixed.has_masks
    assert mixed.read(0, 3)[1]["has_mask"].tolist() == [True, False]
    assert not training(tmp_path, "0 0.25 0 0.75 0 0.75 0.5 0.25 0.5\n" + "1 0.5 0.5 1 1\n" * 2).has_masks
    assert [segmentation is None for segmentation in mixed.objects[0].segmentations] == [False, True]


def test_images_without_lines_have_no_objects(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", NAMES + "train: images/train\n")
    write_pair(tmp_path / "images/train/a.png")
    write_pair(tmp_path / "images/train/b.png", "")
    write_image(tmp_path / "images/train/c.png")
    train, _ = read_yolo(tmp_path)
    assert train is not None
    assert [len(objects) for objects in train.objects] == [1, 0, 0]
    assert train.read(2, 3)[1]["boxes"].shape == (0, 4)
    (tmp_path / "images/train/a.png").write_bytes(b"broken")
    broken, _ = read_yolo(tmp_path)
    assert broken is not None
    assert (broken.sizes[0], len(broken.objects[0])) == (None, 0)
    for file in (tmp_path / "labels/train").iterdir():
        file.unlink()
    assert f"{tmp_path}/labels/train/a.txt: no such file, nor one for any other of 3 images" in refused(tmp_path)


BAD_LINES = {
    "0 0.5 0.5 0.5": "3 numbers behind the class",
    "0 0.5 0.5 0.5 0.5 0.9": "5 numbers behind the class, the last one a score?",
    "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4": "7 numbers behind the class",
    "cat 0.5 0.5 0.5 0.5": "class is 'cat', not a number",
    "0.5 0.5 0.5 0.5 0.5": "class is '0.5', not a whole number from 0 on",
    "nan 0.5 0.5 0.5 0.5": "class is 'nan', not a whole number from 0 on",
    "1e300 0.5 0.5 0.5 0.5": "class is '1e300', not a whole number from 0 on",
    "0 0.5 0.5 0.5 x": "height is 'x', not a number",
    "0 nan 0.5 0.5 0.5": "x is 'nan'",
    "0 0.5 0.5 100 80": "width is '100', in pixels?",
    "0 0.1 0.1 0.2 0.2 0.3 30": "y of point 3 is '30', in pixels?",
    "0 0.1 0.1 0.2 y 0.3 0.3": "y of point 2 is 'y', not a number",
    "0": "0 numbers behind the class",
    "<html>": "class is '<html>', not a number",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_lines_are_named_with_the_field(tmp_path: Path, line: str) -> None:
    with pytest.raises(TwinsError) as error:
        training(tmp_path, f"0 0.5 0.5 0.5 0.5\n{line}\n")
    gist = f"{tmp_path}/labels/train/a.txt:2: {BAD_LINES[line]}; expected `class x y width height`, or"
    assert str(error.value).startswith(gist)


@pytest.mark.parametrize("label", ["1", "1.0", "1e+00", "+1", "01", "10e-1"])
def test_classes_are_whole_numbers_in_any_notation(tmp_path: Path, label: str) -> None:
    text = f"\ufeff{label}\t0.5 0.5\t0.5 0.5 \r\n\r\n0 5e-1 .5 0.5 0.5\r\n"
    objects = training(tmp_path, text).objects[0]
    assert objects.labels.tolist() == [1, 0]
    assert objects.boxes.tolist() == [[2, 1.5, 4, 3]] * 2


def test_labels_may_lie_beside_the_images(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", NAMES + "train: images/train\nval: photos\n")
    for image in ("images/train/a.png", "photos/b.png"):
        write_image(tmp_path / image)
        write((tmp_path / image).with_suffix(".txt"), "1 0.5 0.5 0.5 0.5\n")
    for images in read_yolo(tmp_path):
        assert images is not None
        assert (images.objects[0].labels.tolist(), images.warnings) == ([1], ())


def test_what_has_no_other_half_is_told(tmp_path: Path) -> None:
    """Of a list some images may be missing; a file of labels may have lost its image."""
    write(tmp_path / "train.txt", "images\\train\\a.png\nimages/train/b.png\n./images/train/gone.png\n")
    for name in "abc":
        write_pair(tmp_path / f"images/train/{name}.png")
    write(tmp_path / "labels/train/lost.txt", "0 0.5 0.5 0.5 0.5\n")
    write(tmp_path / "data.yaml", NAMES + "train: train.txt\n")
    train, _ = read_yolo(tmp_path)
    assert train is not None
    assert train.images == [tmp_path / "images/train" / name for name in ("a.png", "b.png", "gone.png")]
    assert train.warnings == (
        f"images that are listed but not there: {tmp_path}/images/train/gone.png",
        f"files of labels that no image belongs to, left out: {tmp_path}/labels/train/lost.txt",
    )


def test_labels_beyond_the_names_are_counted(tmp_path: Path) -> None:
    images = training(tmp_path, "2 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n-1 0.5 0.5 0.5 0.5\n")
    file = tmp_path / "labels/train/a.txt"
    assert images.errors == (f"classes beyond the 2 names: {file}:1 (class 2); {file}:3 (class -1)",)
    assert images.objects[0].labels.tolist() == [1]


# From a recipe


def opened(data: Path, **fields: Any) -> tuple[BoxedImages | None, BoxedImages]:
    return open_boxed(DetectRecipe(data=str(data), **fields))


def test_the_layout_is_recognised_or_chosen(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", NAMES + PARTS)
    for part in ("train", "val"):
        write_pair(tmp_path / f"images/{part}/{part}.png")
    for data in (tmp_path, tmp_path / "data.yaml"):
        train, val = opened(data)
        assert (names_of(train), names_of(val)) == (["train"], ["val"])
    write(tmp_path / "annotations.json", "{}")
    with pytest.raises(TwinsError, match="holds annotations in the layouts of coco and yolo; choose by --dataset"):
        opened(tmp_path)
    assert names_of(opened(tmp_path, dataset="yolo")[1]) == ["val"]
    with pytest.raises(TwinsError, match=r"annotations\.json: no list 'images' there"):
        opened(tmp_path, dataset="coco")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["/dev/zero", "/dev/stdin"])
def test_devices_are_no_lists_of_images(tmp_path: Path, part: str) -> None:
    write(tmp_path / "data.yaml", f"{NAMES}train: {part}\n")
    with pytest.raises(TwinsError, match=f"{part}: cannot be read \\(not a regular file\\)"):
        read_yolo(tmp_path)


def test_a_field_without_a_name_is_none(tmp_path: Path) -> None:
    write_pair(tmp_path / "images/train/a.png")
    write(tmp_path / "data.yaml", f"{NAMES}~: images/train\ntrain: images/train\n")
    train, _ = read_yolo(tmp_path)
    assert train is not None
    assert len(train) == 1
