"""Twins vision transformers: the six networks, their training, and everything down to a deployed model.

The public names are loaded when they are first used (PEP 562), so that neither `import twins` nor `twins --help` waits
for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import deprecated

if TYPE_CHECKING:
    from .checkpoints.info import identify
    from .checkpoints.load import LoadReport, load_weights
    from .checkpoints.read import read_checkpoint
    from .cuda_graphs import graphed
    from .errors import TwinsError
    from .explain.attention import attention_maps
    from .explain.cam import grad_cam
    from .export.exporting import export_model as export_model
    from .heads.detection import mask_rcnn, retinanet
    from .heads.segmentation import Segmenter, semantic_fpn, upernet
    from .hub.saving import save_pretrained
    from .model import Twins, TwinsBackbone
    from .native import freeze
    from .predict.loading import load as load
    from .runtimes.opening import open_exported
    from .zoo import create_model, list_models

__version__ = "0.2.0"

deprecated.install()

# What `from twins import *` brings needs torch alone: `load` and `export_model`, which need Pillow and torchvision,
# are left out.
__all__ = [
    "LoadReport",
    "Segmenter",
    "Twins",
    "TwinsBackbone",
    "TwinsError",
    "attention_maps",
    "create_model",
    "freeze",
    "grad_cam",
    "graphed",
    "identify",
    "list_models",
    "load_weights",
    "mask_rcnn",
    "open_exported",
    "read_checkpoint",
    "retinanet",
    "save_pretrained",
    "semantic_fpn",
    "upernet",
]

# Where each public name is defined.
_MODULE_OF = {
    "LoadReport": "checkpoints.load",
    "Segmenter": "heads.segmentation",
    "Twins": "model",
    "TwinsBackbone": "model",
    "TwinsError": "errors",
    "attention_maps": "explain.attention",
    "create_model": "zoo",
    "export_model": "export.exporting",
    "freeze": "native",
    "grad_cam": "explain.cam",
    "graphed": "cuda_graphs",
    "identify": "checkpoints.info",
    "list_models": "zoo",
    "load": "predict.loading",
    "load_weights": "checkpoints.load",
    "mask_rcnn": "heads.detection",
    "open_exported": "runtimes.opening",
    "read_checkpoint": "checkpoints.read",
    "retinanet": "heads.detection",
    "save_pretrained": "hub.saving",
    "semantic_fpn": "heads.segmentation",
    "upernet": "heads.segmentation",
}

# Modules that `import twins` alone makes reachable, as in `twins.ops.backend()`.
_SUBMODULES = (
    "checkpoints",
    "class_names",
    "cuda_graphs",
    "distributed",
    "errors",
    "explain",
    "heads",
    "model",
    "native",
    "ops",
    "optional_dependencies",
    "preprocessing",
    "recipes",
    "zoo",
)

if not TYPE_CHECKING:  # a type checker that saw this function would take any misspelt name for one of ours

    def __getattr__(name):
        if name in _SUBMODULES or name in deprecated.MODULES:
            return import_module(f".{name}", __name__)
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value  # later uses do not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_SUBMODULES})
