"""Hostile annotations: COCO's JSON, YOLO's YAML and labels, class tables of masks, tables and lists of labels."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from twins.data.boxes.checks import count_boxes
from twins.data.boxes.layouts import open_boxed
from twins.data.boxes.segmentations import compressed_rle
from twins.data.classify.layouts import open_labelled
from twins.data.masks.layouts import open_masked
from twins.recipes import ClassifyRecipe, DetectRecipe, SegmentRecipe

from .mutation import mutated_bytes, mutated_json, odd_text
from .pickles import calling_pickle, growing_pickle
from .sandbox import Attempt, Kind

_SETTINGS = {"workers": 0, "device": "cpu", "output": "runs"}


def prepare_images(folder: Path) -> Path:
    """Four small images."""
    for number in range(4):
        Image.fromarray(np.full((40, 60, 3), 50 * number, dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def _fresh(folder: Path) -> Path:
    home = folder / "data"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    return home


def _coco() -> dict[str, Any]:
    images = [{"id": i + 1, "file_name": f"{i}.png", "height": 40, "width": 60} for i in range(4)]
    polygon = [[5.0, 5.0, 30.0, 5.0, 30.0, 20.0, 5.0, 20.0]]
    counted = {"size": [40, 60], "counts": [100, 50, 2250]}
    compressed = {**counted, "counts": compressed_rle(counted)["counts"].decode()}
    annotations = [
        {"id": i + 1, "image_id": i % 4 + 1, "category_id": i % 2 + 1, "bbox": [5, 5, 25, 15], "area": 375,
         "iscrowd": 0, "segmentation": (polygon, counted, polygon, compressed)[i % 4]}
        for i in range(8)
    ]  # fmt: skip
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(rng: random.Random, images: Path, folder: Path) -> Attempt:
    home = _fresh(folder)
    shutil.copytree(images, home / "images")
    content = _coco()
    for entry in content["annotations"]:
        if rng.random() < 0.3:  # then they follow from the segmentation
            del entry["bbox"], entry["area"]
        if rng.random() < 0.2:
            entry["segmentation"] = _odd_segmentation(rng)
    text = mutated_json(rng, content) if rng.random() < 0.6 else json.dumps(content).encode()
    (home / "instances_train.json").write_bytes(text)
    return partial(_look_at_boxes, home)


def _odd_segmentation(rng: random.Random) -> Any:
    far = rng.choice((1e3, 1e5, 1e9, 2.0**31, 1e18, -1e9))
    return rng.choice(
        (
            [[0, 0, far, 0, far, far, 0, far]],
            [[rng.uniform(-far, far) for _ in range(2 * rng.choice((3, 100, 10_000)))]],
            [[0, 0, 10, 10]] * 1000,
            {"size": [40, 60], "counts": [rng.choice((0, 1, -1, 2400, 2**31, 2**32, 2**40)) for _ in range(9)]},
            {"size": [rng.choice((40, 2**15, 2**20, 0, -1))] * 2, "counts": [1, 2]},
            {"size": [40, 60], "counts": "".join(chr(rng.randrange(32, 200)) for _ in range(rng.choice((1, 9, 300))))},
            {"size": [40, 60], "counts": rng.choice(("", "o" * 1000, "\0", "0" * 10_000, "PPYo1"))},
        )
    )


def yolo(rng: random.Random, images: Path, folder: Path) -> Attempt:
    home = _fresh(folder)
    shutil.copytree(images, home / "images" / "train")
    (home / "labels" / "train").mkdir(parents=True)
    for number in range(4):
        lines = "".join(_label(rng) + "\n" for _ in range(3))
        (home / "labels" / "train" / f"{number}.txt").write_bytes(lines.encode(errors="surrogatepass"))
    sound = b"path: .\ntrain: images/train\nnames: [ant, bee]\n"
    (home / "data.yaml").write_bytes(_yaml(rng) if rng.random() < 0.7 else sound)
    return partial(_look_at_boxes, home)


def _label(rng: random.Random) -> str:
    numbers = ["1", "0.5", "0.5", "0.2", "0.2"] + ["0.3", "0.9"] * rng.choice((0, 1, 5))
    if rng.random() < 0.03:
        numbers[rng.randrange(len(numbers))] = rng.choice(
            ("nan", "inf", "-1", "1e400", "2", "", "x", odd_text(rng)[:99])
        )
    return " ".join(numbers)


def _yaml(rng: random.Random) -> bytes:
    text = "path: .\ntrain: images/train\nval: images/train\nnc: 2\nnames:\n  0: ant\n  1: bee\n"
    odd = rng.choice(
        (
            "names: !!python/object/apply:os.system ['touch executed-by-a-hostile-input']\n",
            "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
            "names: " + "[" * rng.choice((50, 2000, 50_000)) + "\n",
            "names:\n" + "".join(" " * depth + "a:\n" for depth in range(rng.choice((50, 900)))),
            "names: {" + "a: {" * rng.choice((50, 5000)),
            "? [a, b]\n: c\n",
            "~: x\n",
            "<<: {a: b}\n",
            "names: |\n  ant\n",
            "train: [images/train, [images/train]]\n",
            "train: /etc/passwd\n",
            "train: /dev/zero\n",
            f"train: {json.dumps(odd_text(rng))}\n",
            f"names: [{json.dumps(odd_text(rng))}, b]\n",
            f"path: {json.dumps(odd_text(rng))}\n",
            "nc: 9999999999999999999999\n",
            "%YAML 9.9\n---\n",
            "--- a\n--- b\n",
            "names: [ant, ant]\n",
            "names: 2001-99-99\n",
            "key: " + "x" * 100_000 + "\n",
            "x:\t- y\n",
        )
    )
    content = rng.choice((odd + text, text + odd, odd)).encode(errors="surrogatepass")
    return mutated_bytes(rng, content, [content]) if rng.random() < 0.3 else content


def _look_at_boxes(home: Path) -> None:
    recipe = DetectRecipe(data=str(home), **_SETTINGS)
    for part in filter(None, open_boxed(recipe)):
        for index in range(len(part)):
            count_boxes(part, True, index)
            part.read(index, 3)


def class_tables(rng: random.Random, images: Path, folder: Path) -> Attempt:
    """Beside images and masks, in the formats that tools write, Pascal VOC's labelmap.txt among them."""
    home = _fresh(folder)
    for kind in ("images", "masks"):
        (home / kind / "train").mkdir(parents=True)
    for number in range(4):
        shutil.copy(images / f"{number}.png", home / "images" / "train")
        Image.fromarray(np.full((40, 60), number % 2, dtype=np.uint8)).save(home / "masks" / "train" / f"{number}.png")
    name, text = rng.choice(_CLASS_TABLES)
    content = text.replace("@", odd_text(rng)).encode(errors="surrogatepass")
    if name.endswith(".json"):
        content = mutated_json(rng, {"0": "ant", "1": "bee"})
    elif rng.random() < 0.7:
        content = mutated_bytes(rng, content, [content])
    (home / name).write_bytes(content)
    return partial(_look_at_masks, home)


_CLASS_TABLES = (
    ("classes.txt", "ant\nbee\n@\n"),
    ("classes.txt", "ant,0,0,0\nbee,@,0,0\n"),
    ("classes.txt", "ant,0,0,0\nbee," + "9" * 5000 + ",0,0\n"),
    ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nant:1,2,3::\n@:2,2,2::\n"),
    ("labelmap.txt", "background:0,0,0::\nant:" + "9" * 5000 + ",0,0::\n"),
    ("_classes.csv", "Pixel Value, Class\n0, ground\n1, @\n"),
    ("_classes.csv", "Pixel Value, Class\n0, ground\n" + "9" * 5000 + ", ant\n"),
    ("class_dict.csv", "name,r,g,b\nant,0,0,0\nbee,1,1,1\n@,2,2,2\n"),
    ("objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t1\t1\t0\tant\n2\t0.1\t1\t1\t0\t@\n"),
    ("id2label.json", ""),
)


def _look_at_masks(home: Path) -> None:
    recipe = SegmentRecipe(data=str(home), **_SETTINGS)
    for part in filter(None, open_masked(recipe)):
        for index in range(len(part)):
            part.read(index, 3)


def tables(rng: random.Random, images: Path, folder: Path) -> Attempt:
    """CSV, lists of files, iNaturalist's JSON and CIFAR's pickles."""
    home = _fresh(folder)
    shutil.copytree(images, home / "images")
    rng.choice((_csv, _csv, _csv, _list, _inaturalist, _cifar))(rng, home)
    return partial(look_at_labels, home)


def _csv(rng: random.Random, home: Path) -> None:
    separator = rng.choice(",;\t|")
    rows = [["file", "label", "split"], *([f"{i}.png", rng.choice("ab01"), "train"] for i in range(4))]
    for _ in range(rng.choice((0, 1, 1, 2))):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = odd_text(rng)
    if rng.random() < 0.3:
        for row, number in zip(rows[1:], ("9" * 400, "1", "0", "9" * 5000), strict=True):
            row[1] = number
    text = "\n".join(separator.join(row) for row in rows)
    text = rng.choice(("", "", "", "sep=,\n", ",,,\n", "\n\n", '"')) + rng.choice(
        (text, text, text, "sep=,\n", ",,,\n")
    )
    if rng.random() < 0.1:
        text = "sep=,\n" * 2
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin1"))
    content = text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf") else "replace")
    if rng.random() < 0.4:
        content = mutated_bytes(rng, content, [content])
    (home / rng.choice(("labels.csv", "train.csv", "labels.tsv"))).write_bytes(content)


def _list(rng: random.Random, home: Path) -> None:
    (home / "meta").mkdir()
    label = rng.choice(("0", "1", "2147483648", "9" * 12, "9" * 5000, "-1", "", odd_text(rng)))
    lines = [f"images/{i}.png {i % 2}" for i in range(3)] + [f"images/3.png {label}", odd_text(rng)][
        : rng.choice((1, 2))
    ]
    content = "\n".join(lines).encode(errors="surrogatepass")
    (home / "meta" / "train.txt").write_bytes(content)
    if rng.random() < 0.3:
        (home / "meta" / "classes.txt").write_bytes(mutated_bytes(rng, b"ant\nbee\n", [content]))


def _inaturalist(rng: random.Random, home: Path) -> None:
    categories = [{"id": i, "name": f"species {i}", "genus": "a"} for i in range(2)]
    listing = {
        "images": [{"id": i, "file_name": f"images/{i}.png"} for i in range(4)],
        "annotations": [{"image_id": i, "category_id": i % 2} for i in range(4)],
    }
    for name, content in (("categories", categories), ("train2018", listing), ("val2018", listing)):
        odd = rng.random() < 0.5
        (home / f"{name}.json").write_bytes(mutated_json(rng, content) if odd else json.dumps(content).encode())


def _cifar(rng: random.Random, home: Path) -> None:
    folder = home / "cifar-100-python"
    folder.mkdir()
    batch = {b"data": np.zeros((3, 3072), dtype=np.uint8), b"fine_labels": [0, 1, 1]}
    sound = {"meta": {b"fine_label_names": [b"ant", b"bee"]}, "train": batch, "test": batch}
    make: Callable[[random.Random], bytes]
    for name, content in sound.items():
        pickled = pickle.dumps(content, 2)
        if rng.random() < 0.5:
            make = rng.choice((calling_pickle, growing_pickle, lambda r, p=pickled: mutated_bytes(r, p, [p])))
            pickled = make(rng)
        (folder / name).write_bytes(pickled)


def look_at_labels(home: Path) -> None:
    recipe = ClassifyRecipe(data=str(home), **_SETTINGS)
    for part in filter(None, open_labelled(recipe)):
        for index in range(min(len(part), 4)):
            part.read(index, 3)


KINDS = (
    Kind("COCO annotations", 12, prepare_images, coco),
    Kind("YOLO annotations", 9, prepare_images, yolo),
    Kind("class tables of masks", 5, prepare_images, class_tables),
    Kind("tables and lists of labels", 10, prepare_images, tables),
)
