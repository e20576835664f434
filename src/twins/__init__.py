"""Twins vision transformers: the six networks, their training, and everything down to a deployed model."""

from .checkpoint_file import read_checkpoint
from .cuda_graphs import graphed
from .detection import mask_rcnn, retinanet
from .errors import TwinsError
from .model import Twins, TwinsBackbone
from .native import freeze
from .segmentation import Segmenter, semantic_fpn, upernet
from .weights import LoadReport, identify, load_weights
from .zoo import create_model, list_models

__version__ = "0.1.0"

__all__ = [
    "LoadReport",
    "Segmenter",
    "Twins",
    "TwinsBackbone",
    "TwinsError",
    "create_model",
    "freeze",
    "graphed",
    "identify",
    "list_models",
    "load_weights",
    "mask_rcnn",
    "read_checkpoint",
    "retinanet",
    "semantic_fpn",
    "upernet",
]
