"""Networks of random weights to be served, and images that they tell apart."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import twins

CLASSES = tuple(f"class {i}" for i in range(10))
TINY = {"embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "mlp_ratios": (1, 1, 1, 1)}
NORMAL = {"mean": [0.4] * 3, "std": [0.3] * 3}


def save(path: Path, network: torch.nn.Module, settings: dict[str, Any], **facts: Any) -> Path:
    """As a run of ours leaves a network."""
    meta = {"name": "twins_svt_small", "create_model": settings, "classes": CLASSES, **facts}
    torch.save({"format": "twins-1", "model": network.state_dict(), "meta": meta}, path)
    return path


def write_tiny_networks(folder: Path) -> dict[str, Path]:
    """Two classifiers, a segmenter and a detector of a few thousand parameters, by the names to serve them under."""
    files = {}
    for seed, name in enumerate(("one", "other")):
        torch.manual_seed(seed)
        settings = {"num_classes": len(CLASSES), **TINY}
        network = twins.create_model("twins_svt_small", **settings)
        torch.nn.init.normal_(network.head.weight, std=1.0)  # probabilities far apart
        ready = {"img_size": 48, **NORMAL}
        files[name] = save(folder / f"{name}.pth", network, settings, task="classify", preprocessing=ready)
    settings = {"num_classes": len(CLASSES), **TINY, "channels": 16}
    ready = {"resize": [192, 48], **NORMAL}
    files["segmenter"] = save(folder / "segmenter.pth", twins.semantic_fpn("twins_svt_small", **settings), settings,
                              task="segment", head="semantic_fpn", preprocessing=ready)  # fmt: skip
    detector = twins.retinanet("twins_svt_small", **settings)
    torch.nn.init.normal_(detector.bbox_head.retina_cls.weight, std=1.0)
    torch.nn.init.constant_(detector.bbox_head.retina_cls.bias, -1.0)
    ready = {"min_size": 48, "max_size": 80, **NORMAL}
    files["detector"] = save(folder / "detector.pth", detector, settings, task="detect", detector="retinanet",
                             preprocessing=ready)  # fmt: skip
    return files


def write_small_svt(folder: Path) -> Path:
    """Twins-SVT-S as it was published, but for the values of its weights."""
    torch.manual_seed(0)
    network = twins.create_model("twins_svt_small", num_classes=len(CLASSES))
    settings = {"num_classes": len(CLASSES)}
    return save(folder / "svt_small.pth", network, settings, task="classify", preprocessing={"img_size": 224})


def images(count: int, side: int = 40, kind: str = "PNG") -> list[bytes]:
    """Files of coarse coloured squares, each of another size."""
    files = []
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        file = BytesIO()
        Image.fromarray(pixels).resize((side + seed, side), Image.Resampling.NEAREST).save(file, kind, quality=90)
        files.append(file.getvalue())
    return files
