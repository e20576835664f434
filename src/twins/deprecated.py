"""Names of version 0.1 that have moved: found where they are now, with a DeprecationWarning, until version 0.3."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

# Modules by their old names, and those that hold now what they held; paths are below `twins`.
MODULES: dict[str, tuple[str, ...]] = {
    "allocator": ("training.malloc_settings",),
    "checkpoint_file": ("checkpoints.read",),
    "coco_figures": ("metrics.detection",),
    "coco_results": ("metrics.coco_format",),
    "dense": ("heads.base",),
    "detection": ("heads.detection",),
    "detection.anchor_head": ("heads.detection.anchor_head",),
    "detection.boxes": ("heads.detection.boxes",),
    "detection.detector": ("heads.detection.detector",),
    "detection.instance_masks": ("heads.detection.instance_masks",),
    "detection.pictures": ("heads.detection.transform",),
    "detection.retina_head": ("heads.detection.retina_head",),
    "detection.roi_head": ("heads.detection.roi_head",),
    "detection.roi_pooling": ("heads.detection.roi_extractor",),
    "detection.rpn_head": ("heads.detection.rpn_head",),
    "dist": ("distributed.world", "distributed.collectives", "training.mixed_precision"),
    "evaluate": ("training.evaluation",),
    "extras": ("optional_dependencies",),
    "inference": ("heads.sliding_window",),
    "info": ("commands.model_tables", "zoo"),
    "inspect_data": ("commands.data_check",),
    "neck": ("heads.fpn",),
    "optim": ("training.optim",),
    "overlays": ("plots.boxes", "plots.masks", "plots.lettering"),
    "resizing": ("preprocessing",),
    "run": ("training.run_folder",),
    "segmentation": ("heads.segmentation",),
    "state": ("checkpoints.resume",),
    "sync_batch_norm": ("distributed.sync_batch_norm",),
    "train": ("training.loop",),
    "weights": ("checkpoints.load", "checkpoints.info"),
    "data.box_check": ("data.boxes.checks",),
    "data.box_survey": ("data.boxes.checks",),
    "data.box_transforms": ("data.boxes.transforms", "preprocessing"),
    "data.canvases": ("data.synthetic_scenes",),
    "data.cifar": ("data.classify.cifar",),
    "data.class_names": ("class_names",),
    "data.coco": ("data.boxes.coco",),
    "data.coco_classes": ("checkpoints.coco_classes",),
    "data.folder": ("data.classify.folder", "data.folders"),
    "data.inaturalist": ("data.classify.inaturalist",),
    "data.jpeg": ("data.classify.partial_jpeg",),
    "data.jpeg_head": ("data.classify.jpeg_header",),
    "data.listfile": ("data.classify.list_file",),
    "data.mask_check": ("data.masks.checks",),
    "data.mask_folders": ("data.masks.layouts", "class_names"),
    "data.mask_survey": ("data.masks.checks",),
    "data.mask_transforms": ("data.masks.transforms", "preprocessing"),
    "data.outlines": ("data.boxes.segmentations",),
    "data.problems": ("data.annotation_errors",),
    "data.sliding": ("data.classify.fast_shear",),
    "data.survey": ("data.check_results",),
    "data.transforms": ("data.classify.transforms", "preprocessing"),
    "data.yolo": ("data.boxes.yolo",),
    "ops.accelerated": ("ops.gpu_backend",),
    "predict.checkpoint": ("checkpoints.info", "class_names"),
    "predict.files": ("predict.writers",),
    "predict.pictures": ("predict.sources",),
    "predict.writing": ("predict.folder",),
    "recipes.recipe": ("recipes.base",),
}

# Modules that are still there, and where what has left them went.
LEFT: dict[str, tuple[str, ...]] = {
    "data": ("data.classify.layouts", "data.boxes.layouts", "data.masks.layouts", "data.classify.dataset",
             "data.boxes.dataset", "data.masks.dataset", "data.masks.decoding"),
    "data.boxes": ("data.boxes.dataset",),
    "data.images": ("data.images", "data.classify.dataset"),
    "data.loading": ("data.loading", "data.sampling"),
    "data.masks": ("data.masks.dataset", "data.masks.decoding"),
    "metrics": ("metrics.classification", "metrics.segmentation"),
    "predict": ("predict", "class_names"),
    "report": ("plots.curves", "plots.confusion", "plots.image_grid", "plots.masks", "plots.class_bars"),
    "zoo": ("zoo", "model_names"),
}  # fmt: skip

# What is called otherwise now, wherever it was.
NAMES = {
    "AnnotatedPictures": "AnnotatedImages",
    "BoxPreprocessing": "DetectPreprocessing",
    "ClassificationFigures": "ClassificationMetrics",
    "DetectionFigures": "DetectionMetrics",
    "Found": "CocoDetections",
    "ImageSet": "LabelledImages",
    "JpegPicture": "JpegImage",
    "MaskPreprocessing": "SegmentPreprocessing",
    "OfPictureAlone": "ImageOnly",
    "OpenedPictures": "OpenedImages",
    "Outline": "Segmentation",
    "PictureFile": "ImageFile",
    "Pictures": "ImageList",
    "PicturesAsTensors": "ImageDataset",
    "Preparation": "DetectorTransform",
    "Preprocessing": "ClassifyPreprocessing",
    "Run": "RunFolder",
    "SegmentationFigures": "SegmentationMetrics",
    "Survey": "DatasetStatistics",
    "best_apart": "nms",
    "current_rate": "current_lr",
    "draw_pictures": "draw_image_grid",
    "drawn": "rasterised",
    "evaluate_weights": "evaluate_checkpoint",
    "find_pictures": "find_images",
    "gather": "all_gather_object",
    "held_out_figures": "validate",
    "joined": "init_distributed",
    "overlaps": "box_iou",
    "pictures_under": "images_under",
    "pool_regions": "roi_align",
    "recipe_of_weights": "recipe_of_checkpoint",
    "replicate": "wrap_ddp",
    "write_boxed_canvases": "write_boxed_scenes",
    "write_masked_canvases": "write_masked_scenes",
}


class OldNames(MetaPathFinder, Loader):
    """Finds moved modules by their old names, and lets those that are still there find what has left them."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, below = name.partition(".")
        if package != "twins":
            return None
        if below in LEFT:
            spec = PathFinder.find_spec(name, path, target)
            if spec is not None and isinstance(spec.loader, SourceFileLoader):
                spec.loader = SourceWithOldNames(spec.loader.name, spec.loader.path)
            return spec
        if below not in MODULES:
            return None
        now = " and ".join(f"twins.{module}" for module in MODULES[below])
        warnings.warn(f"{name} is now {now}; the old name goes in version 0.3", DeprecationWarning, stacklevel=2)
        return ModuleSpec(name, self, is_package=True)  # as some had modules below

    def exec_module(self, module: ModuleType) -> None:
        homes = MODULES[module.__name__.removeprefix("twins.")]
        vars(module)["__getattr__"] = lambda name: _found(module.__name__, name, homes)


class SourceWithOldNames(SourceFileLoader):
    """Loads a module that can be asked for what has left it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        homes = LEFT[module.__name__.removeprefix("twins.")]

        def find(name: str) -> Any:
            value = _found(module.__name__, name, homes)
            where = f"{getattr(value, '__module__', module.__name__)}.{NAMES.get(name, name)}"
            message = f"{module.__name__}.{name} is now {where}; the old name goes in version 0.3"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return value

        vars(module)["__getattr__"] = find


def _found(module: str, name: str, homes: Sequence[str]) -> Any:
    if not name.startswith("__"):
        for home in homes:
            found = vars(importlib.import_module(f"twins.{home}"))
            for known in (name, NAMES.get(name)):
                if known in found:
                    return found[known]
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def install() -> None:
    """Let old names be found from now on."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())
