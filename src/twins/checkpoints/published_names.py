"""What published networks tell apart: the classes of ImageNet-1k, ADE20K or COCO.

Names are the first English synonym of each class, except where that is another class's too. Files beside this one hold
them, read when they are first asked for: `imagenet_classes.txt` by WordNet id, in the order of the ids, which is that
of every published network's outputs (ids as in timm's ImageNetInfo, names as in torchvision's weights);
`ade20k_classes.txt` in the order of the data set's own objectInfo150.txt.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .coco_classes import COCO


def published_classes(task: str | None, count: int) -> Mapping[int, str]:
    """Names by the numbers of the data set's own files, in the order of a network's outputs; empty where unknown.

    A network of a task ("classify", "segment", "detect") is known by the `count` of its classes alone.
    """
    match task, count:
        case "classify", 1000:
            return dict(enumerate(imagenet_names(), 1))
        case "segment", 150:
            return dict(enumerate(_lines("ade20k_classes.txt"), 1))
        case "detect", 80:
            return COCO
    return {}


def imagenet_names() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes: "tench", "goldfish" ..."""
    return tuple(line.partition(" ")[2] for line in _lines("imagenet_classes.txt"))


def imagenet_wordnet_ids() -> tuple[str, ...]:
    """What the folders of ImageNet's 1000 classes are called: "n01440764", "n01443537" ..."""
    return tuple(line.partition(" ")[0] for line in _lines("imagenet_classes.txt"))


@cache
def _lines(file: str) -> tuple[str, ...]:
    return tuple(Path(__file__).with_name(file).read_text(encoding="utf-8").splitlines())
