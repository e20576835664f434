"""What a trained network says of pictures: asked from Python, or written to a folder, drawn and as data.

`checkpoint` reads what a file of weights tells of its network, `predictors` ask the network, whose answers are
`predictions`. `pictures` finds files, `files` is what is left of each task's answers, and `writing` does it all.
"""

from .checkpoint import read_names
from .pictures import PictureFile, find_pictures
from .predictions import Classified, Detected, Segmented
from .predictors import Predictor, load_predictor
from .writing import write_predictions

__all__ = [
    "Classified",
    "Detected",
    "PictureFile",
    "Predictor",
    "Segmented",
    "find_pictures",
    "load_predictor",
    "read_names",
    "write_predictions",
]
