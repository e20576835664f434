"""Small networks to export, and their files' descriptions."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import twins
from helpers.frozen_networks import randomised
from helpers.tiny import TINY
from twins.export.exportable import Exportable, as_exportable
from twins.export.shape import smallest_side
from twins.preprocessing import ClassifyPreprocessing, Preprocessing, SegmentPreprocessing
from twins.runtimes.description import Description
from twins.runtimes.network import ExportedNetwork

# Windows in every stage, which end at the border or beyond, and one block with global attention.
NETWORK = {**TINY, "depths": (2, 1, 1, 1), "num_classes": 3}

# Odd, thin, of one window and of many, divided by windows along both axes, along one and along none.
SIZES = (
    *((32, 32), (33, 57), (64, 41), (200, 333), (32, 500), (224, 224), (63, 64)),
    *((45, 224), (224, 100), (127, 350), (256, 288), (97, 217), (448, 35)),
)

_PREPROCESSING: dict[str, Preprocessing] = {
    "classify": ClassifyPreprocessing(img_size=64),
    "segment": SegmentPreprocessing(resize=(96, 64)),
}


def network_to(task: str, padding: str = "mask", head: str = "upernet") -> torch.nn.Module:
    """A classifier or a segmenter of random parameters, in evaluation mode."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {**NETWORK, "window_padding": padding}
    if task == "classify":
        return randomised(twins.create_model("twins_svt_small", **settings))
    return randomised(getattr(twins, head)("twins_svt_small", channels=8, auxiliary=False, **settings))


def exportable_to(task: str, padding: str = "mask", head: str = "upernet") -> Exportable:
    return as_exportable(network_to(task, padding, head), _PREPROCESSING[task])


def assert_logits_alike(
    opened: ExportedNetwork, network: Exportable, images: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The file has the outputs of the network, and logits within 1e-5 of the largest; returns both's outputs."""
    with torch.no_grad():
        found, expected = opened(images), network(images)
    assert list(found) == list(network.outputs)
    scale = float(expected["logits"].abs().max())
    torch.testing.assert_close(found["logits"], expected["logits"], rtol=0, atol=1e-5 * scale)
    return found, expected


def describe(network: Exportable, task: str = "classify", **changes: Any) -> Description:
    """The description of such a network, for images of any size unless changed."""
    description = Description(
        task=task,
        name="twins_svt_small",
        head=None if task == "classify" else "upernet",
        create_model=NETWORK,
        classes=("ant", "bee", "cat"),
        classes_named=True,
        category_ids=(1, 2, 3),
        preprocessing=_PREPROCESSING[task].to_dict() | {"mean": (0.0,) * 3, "std": (1.0,) * 3},
        outputs=network.outputs,
        sizes=(),
        smallest_side=smallest_side(network),
        batch=None,
        dtype="fp32",
    )
    return replace(description, **changes)


def save_checkpoint(path: Path, task: str = "classify") -> Path:
    """A checkpoint as a run would have left it."""
    network = network_to(task)
    meta = {
        "task": task,
        "name": "twins_svt_small",
        "create_model": NETWORK if task == "classify" else {**NETWORK, "channels": 8},
        "classes": ["ant", "bee", "cat"],
        "preprocessing": _PREPROCESSING[task].to_dict(),
        "recipe": {"name": "tiny", "img_size": 64},
        **({} if task == "classify" else {"head": "upernet"}),
    }
    torch.save({"format": 1, "model": network.state_dict(), "epoch": 1, "args": {}, "meta": meta}, path)
    return path


def assert_no_path_is_inside(file: Path) -> None:
    """Neither that of twins nor that of PyTorch on this machine, in an archive's members too."""
    contents = [file.read_bytes()]
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            contents += [archive.read(name) for name in archive.namelist()]
    for package in (twins, torch):
        (folder,) = package.__path__
        assert not any(folder.encode() in content for content in contents), f"{folder} is named in {file.name}"


def code_on_page(containing: str) -> str:
    """The example of docs/export.md that names something."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if containing in code)
    return str(code)


def images_of(*sizes: tuple[int, int]) -> list[Tensor]:
    """A batch in [0, 1] of each size, of 1, 2 or 3 images by turns."""
    return [torch.rand(i % 3 + 1, 3, *size) for i, size in enumerate(sizes)]
