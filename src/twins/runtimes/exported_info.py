"""An exported file as a checkpoint's info, so that whatever takes checkpoints takes it too."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from ..checkpoints.info import CheckpointInfo
from ..preprocessing import ClassifyPreprocessing
from .network import ExportedNetwork


@dataclass(frozen=True, kw_only=True)
class ExportedInfo(CheckpointInfo):
    """What an exported file is; `checkpoint` is empty, since the network itself is there."""

    network: ExportedNetwork = field(repr=False, compare=False)


def info_of_exported(network: ExportedNetwork) -> ExportedInfo:
    """What an opened file says of itself. A classifier of fixed sizes sees images of the first of them.

    Raises TwinsError for a preprocessing that makes no image ready.
    """
    info = network.description.info(str(network.path))
    sizes, ready = network.description.sizes, info.preprocessing
    if isinstance(ready, ClassifyPreprocessing) and sizes and ready.size not in sizes:
        info = replace(info, preprocessing=replace(ready, img_size=sizes[0]))
    return ExportedInfo(**{each.name: getattr(info, each.name) for each in fields(info)}, network=network)
