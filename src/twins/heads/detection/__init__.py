"""Detectors: a Twins backbone with RetinaNet or Mask R-CNN on top (paper, table 4).

`networks` makes them by name, `detector` puts their parts together; each head is a file; `boxes` holds the conventions
about boxes in one place. Weights of OpenMMLab's mmdetection load under their own names, and detect what they did there.
"""

from .detector import Detector, MaskRCNN, RetinaNet
from .exportable import ExportableDetector
from .networks import DETECTORS, SURE, mask_rcnn, retinanet

__all__ = ["DETECTORS", "SURE", "Detector", "ExportableDetector", "MaskRCNN", "RetinaNet", "mask_rcnn", "retinanet"]
