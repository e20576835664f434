"""Twins vision transformers: the six networks, their training, and everything down to a deployed model."""

from .checkpoints.info import identify
from .checkpoints.load import LoadReport, load_weights
from .checkpoints.read import read_checkpoint
from .cuda_graphs import graphed
from .errors import TwinsError
from .heads.detection import mask_rcnn, retinanet
from .heads.segmentation import Segmenter, semantic_fpn, upernet
from .model import Twins, TwinsBackbone
from .native import freeze
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
