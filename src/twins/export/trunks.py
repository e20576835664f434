"""Which parts of a network lower precision is for: the trunks, which hold its weights, but for their last layers."""

from __future__ import annotations

import ast
from typing import Any

from torch import nn

# Backbone, neck and heads, by the names that segmenters and detectors have for them.
_TRUNKS = ("backbone", "neck", "decode_head", "bbox_head", "rpn_head", "roi_head.bbox_head", "roi_head.mask_head")

# The layers whose outputs are logits and deltas: small, and of those that metrics depend on most.
_LAST = {"head", "conv_seg", "retina_cls", "retina_reg", "rpn_cls", "rpn_reg", "fc_cls", "fc_reg", "conv_logits"}


def outermost_trunks(exportable: nn.Module) -> list[str]:
    """The names of the modules that hold the weights; around them there is arithmetic alone. A classifier is one."""
    found = [name for name, _ in exportable.named_modules() if name.endswith(tuple(f".{trunk}" for trunk in _TRUNKS))]
    return [name for name in found if not any(name.startswith(f"{other}.") for other in found)] or ["network"]


def last_layers(exportable: nn.Module) -> list[str]:
    """The names of the layers whose outputs are logits or deltas."""
    return [name for name, module in exportable.named_modules() if _is_last(name) and not list(module.children())]


def float_nodes(graph: Any, exportable: nn.Module) -> list[str]:
    """The names of an ONNX graph's nodes that are not to be quantised: the last layers, and all outside the trunks.

    That is the normalisation of images and what is done with logits and deltas, where eight bits would move a box by
    pixels. The exporter notes at each node which modules it was recorded in.
    """
    trunks, last = set(outermost_trunks(exportable)), set(last_layers(exportable))
    within = {node.name: set(_modules_of(node)) for node in graph.node}
    return [name for name, modules in within.items() if not modules & trunks or modules & last]


def _is_last(name: str) -> bool:
    return name.rpartition(".")[2] in _LAST


def _modules_of(node: Any) -> list[str]:
    """From the outermost on."""
    noted = [entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
    return ast.literal_eval(noted[0])[:-1] if noted else []  # the last is the operator
