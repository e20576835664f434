"""torch.hub's entry points, from a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import twins
from helpers.tiny import TINY

ROOT = Path(__file__).parents[2]


def from_hub(*arguments: Any, **keywords: Any) -> Any:
    return torch.hub.load(str(ROOT), *arguments, source="local", **keywords)


@pytest.mark.parametrize("name", twins.list_models())
def test_each_network_by_name(name: str):
    with torch.device("meta"):
        model = from_hub(name, num_classes=3)
        ours = twins.create_model(name, num_classes=3)
    assert {key: t.shape for key, t in model.state_dict().items()} == {k: t.shape for k, t in ours.state_dict().items()}


@pytest.mark.parametrize("kind", ["upernet", "semantic_fpn", "retinanet", "mask_rcnn"])
def test_segmenters_and_detectors(kind: str):
    model = from_hub(kind, "alt_gvt_small", num_classes=5, channels=8, **TINY)
    assert (type(model).__module__.split(".")[1], model.num_classes) == ("heads", 5)


def test_pretrained_is_a_path_and_nothing_is_downloaded(tmp_path: Path):
    model = twins.create_model("twins_svt_small", num_classes=3, **TINY)
    twins.save_pretrained(model, tmp_path / "net")
    loaded = from_hub("twins_svt_small", num_classes=3, pretrained=tmp_path / "net", **TINY)
    assert torch.equal(loaded.head.weight, model.head.weight)
    with pytest.raises(twins.TwinsError, match="pretrained=True: nothing is downloaded, so pass a path to weights"):
        from_hub("twins_svt_small", pretrained=True)


def test_hub_lists_and_explains_the_networks_alone():
    conf = torch.hub._import_module("hubconf", str(ROOT / "hubconf.py"))
    names = {name for name in dir(conf) if callable(getattr(conf, name)) and not name.startswith("_")}
    assert names == {*twins.list_models(), "upernet", "semantic_fpn", "retinanet", "mask_rcnn"}
    assert conf.dependencies == ["torch"]
    assert "RetinaNet on one of the six networks" in conf.retinanet.__doc__
