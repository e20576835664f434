"""Prediction: a trained network's predictions for images, in Python, or written to a folder, drawn and as data.

`loading` makes a predictor of a file, `predictors` run its network, and `predictions` are what they return. `sources`
finds images, `writers` keep each task's predictions as files, and `folder` is the whole of `twins predict`. `embedding`
is for features, and `jobs` for more images than one would look at.
"""

from ..class_names import read_names
from .folder import write_predictions
from .loading import load_predictor
from .predictions import Classified, Detected, Segmented
from .predictors import Predictor
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
