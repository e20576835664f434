"""Old names: each leads to what it meant, with a DeprecationWarning that says the new one."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import twins
from twins.deprecated import LEFT, MODULES, NAMES

# What people imported from version 0.1, and where it is now.
MOVED = {
    "twins.checkpoint_file.read_checkpoint": "twins.checkpoints.read.read_checkpoint",
    "twins.coco_figures.DetectionFigures": "twins.metrics.detection.DetectionMetrics",
    "twins.data.boxes.BoxedImages": "twins.data.boxes.dataset.BoxedImages",
    "twins.data.canvases.write_boxed_canvases": "twins.data.synthetic_scenes.write_boxed_scenes",
    "twins.data.coco.read_coco": "twins.data.boxes.coco.read_coco",
    "twins.data.images.ImageSet": "twins.data.classify.dataset.LabelledImages",
    "twins.data.loading.SampleKey": "twins.data.sampling.SampleKey",
    "twins.data.mask_transforms.MaskPreprocessing": "twins.preprocessing.SegmentPreprocessing",
    "twins.data.open_masked": "twins.data.masks.layouts.open_masked",
    "twins.detection.boxes.overlaps": "twins.heads.detection.boxes.box_iou",
    "twins.detection.mask_rcnn": "twins.heads.detection.mask_rcnn",
    "twins.dist.all_sum": "twins.distributed.collectives.all_sum",
    "twins.dist.joined": "twins.distributed.world.init_distributed",
    "twins.evaluate.evaluate_weights": "twins.training.evaluation.evaluate_checkpoint",
    "twins.evaluate.recipe_of_weights": "twins.training.evaluation.recipe_of_checkpoint",
    "twins.metrics.SegmentationFigures": "twins.metrics.segmentation.SegmentationMetrics",
    "twins.predict.find_pictures": "twins.predict.find_images",
    "twins.report.draw_confusion": "twins.plots.confusion.draw_confusion",
    "twins.run.Run": "twins.training.run_folder.RunFolder",
    "twins.segmentation.UPerHead": "twins.heads.segmentation.UPerHead",
    "twins.state.save_checkpoint": "twins.checkpoints.resume.save_checkpoint",
    "twins.train.fit": "twins.training.loop.fit",
    "twins.weights.identify": "twins.checkpoints.info.identify",
}


def found(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_name_means_what_it_meant(old: str, new: str) -> None:
    assert found(old) is found(new)


def test_what_has_moved_says_where_it_is() -> None:
    sys.modules.pop("twins.train", None)
    with pytest.warns(
        DeprecationWarning, match=r"twins\.train is now twins\.training\.loop; the old name goes in version 0\.3"
    ):
        importlib.import_module("twins.train")
    with pytest.warns(
        DeprecationWarning, match=r"twins\.data\.open_masked is now twins\.data\.masks\.layouts\.open_masked"
    ):
        found("twins.data.open_masked")
    sys.modules.pop("twins.weights", None)
    vars(twins).pop("weights", None)
    with pytest.warns(
        DeprecationWarning, match=r"twins\.weights is now twins\.checkpoints\.load and twins\.checkpoints\.info"
    ):
        assert twins.weights.identify is twins.identify


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("twins.trian")
    with pytest.raises(AttributeError, match=r"module 'twins\.data' has no attribute 'open_maskd'"):
        found("twins.data.open_maskd")


def test_every_home_is_there() -> None:
    """And nobody's new name is an old one."""
    for home in {home for homes in (*MODULES.values(), *LEFT.values()) for home in homes}:
        importlib.import_module(f"twins.{home}")
    assert not NAMES.keys() & set(NAMES.values())


def test_our_own_code_uses_new_names_alone() -> None:
    """Every module is imported by a process for which a DeprecationWarning of ours is an error."""
    script = """
import importlib, pkgutil, warnings, twins
warnings.filterwarnings("error", "twins.* is now", DeprecationWarning)
for module in pkgutil.walk_packages(twins.__path__, "twins."):
    if not module.name.endswith("._engine"):  # the CPU engine, which is no module of Python's
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
