"""Entry points of torch.hub: `torch.hub.load("FOLDER", "twins_svt_small", source="local", pretrained="weights.pth")`.

The six classifiers by name, and segmenters and detectors, which take a network's name first. Keywords are those of the
function of `twins` that makes them. Nothing is downloaded: `pretrained` is a path, to whatever `twins.load_weights`
reads, and without one the weights are random.
"""

import sys as _sys
from pathlib import Path as _Path

_SOURCE = str(_Path(__file__).resolve().parent / "src")
_sys.path.insert(0, _SOURCE)  # for this import alone: from then on the package finds its modules itself
import twins as _twins  # noqa: E402

_sys.path.remove(_SOURCE)

dependencies = ["torch"]


def _entry(make, *name):
    """`make` of the network called `name`, or of one that the caller names, with `pretrained` in place of `weights`."""

    def entry(*arguments, pretrained=None, **keywords):
        if isinstance(pretrained, bool):
            raise _twins.TwinsError(
                f"pretrained={pretrained}: nothing is downloaded, so pass a path to weights, or None"
            )
        return make(*name, *arguments, weights=pretrained, **keywords)

    entry.__doc__ = make.__doc__
    return entry


twins_pcpvt_small = _entry(_twins.create_model, "twins_pcpvt_small")
twins_pcpvt_base = _entry(_twins.create_model, "twins_pcpvt_base")
twins_pcpvt_large = _entry(_twins.create_model, "twins_pcpvt_large")
twins_svt_small = _entry(_twins.create_model, "twins_svt_small")
twins_svt_base = _entry(_twins.create_model, "twins_svt_base")
twins_svt_large = _entry(_twins.create_model, "twins_svt_large")
upernet = _entry(_twins.upernet)
semantic_fpn = _entry(_twins.semantic_fpn)
retinanet = _entry(_twins.retinanet)
mask_rcnn = _entry(_twins.mask_rcnn)
