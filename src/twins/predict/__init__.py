"""What a trained network says of images: asked from Python, or written to a folder, drawn and as data.

`checkpoint` reads what a file of weights tells of its network, `predictors` ask the network, whose answers are
`predictions`. `pictures` finds files, `files` is what is left of each task's answers, and `writing` does it all.
"""

from ..class_names import read_names
from .loop import write_predictions
from .predictions import Classified, Detected, Segmented
from .predictors import Predictor, load_predictor
from .sources import ImageFile, find_images

__all__ = [
    "Classified",
    "Detected",
    "ImageFile",
    "Predictor",
    "Segmented",
    "find_images",
    "load_predictor",
    "read_names",
    "write_predictions",
]
