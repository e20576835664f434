"""The model zoo, counted from the live networks, beside what was published."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..flops import count_flops
from ..heads.segmentation import semantic_fpn, upernet
from ..optional_dependencies import need
from ..zoo import PUBLISHED, create_model, list_models


class PublishedSegmenter(NamedTuple):
    """What the paper and the public README state of a segmenter on ADE20K."""

    miou: float  # per cent, at one scale
    miou_multi_scale: float | None
    params: float | None  # millions, with the backbone's unused classifier and norm
    gflops: int | None  # billions of multiply-adds at 512 x 512, by fvcore's convention


PUBLISHED_SEGMENTERS = {
    ("upernet", "twins_pcpvt_small"): PublishedSegmenter(46.2, 47.5, 54.6, 234),
    ("upernet", "twins_pcpvt_base"): PublishedSegmenter(47.1, 48.4, 74.3, 250),
    ("upernet", "twins_pcpvt_large"): PublishedSegmenter(48.6, 49.8, 91.5, 269),
    ("upernet", "twins_svt_small"): PublishedSegmenter(46.2, 47.1, 54.4, 228),
    ("upernet", "twins_svt_base"): PublishedSegmenter(47.4, 48.9, 88.5, 261),
    ("upernet", "twins_svt_large"): PublishedSegmenter(48.8, 50.2, 133, 297),
    ("semantic_fpn", "twins_pcpvt_small"): PublishedSegmenter(44.3, None, None, None),
    ("semantic_fpn", "twins_pcpvt_base"): PublishedSegmenter(44.9, None, None, None),
    ("semantic_fpn", "twins_pcpvt_large"): PublishedSegmenter(46.4, None, None, None),
    ("semantic_fpn", "twins_svt_small"): PublishedSegmenter(43.2, None, None, None),
    ("semantic_fpn", "twins_svt_base"): PublishedSegmenter(45.3, None, None, None),
    ("semantic_fpn", "twins_svt_large"): PublishedSegmenter(46.7, None, None, None),
}


def zoo_table(img_size: int = 224) -> list[dict[str, Any]]:
    """One row a network: published accuracy, and parameters and multiply-adds both counted and published.

    Both counts are billions of multiply-adds for one picture of `img_size` pixels a side: `gmacs` of convolutions
    and linear layers alone, as the public README counts "FLOPs", `gflops_fvcore` with attention products and norms.
    """
    import torch

    rows = []
    for name in list_models():
        with torch.device("meta"):
            model = create_model(name)
        flops = count_flops(model, img_size)
        rows.append(
            {
                "name": name,
                "title": PUBLISHED[name].title,
                "top1_published": PUBLISHED[name].top1,
                "params": sum(p.numel() for p in model.parameters()),
                "params_published": PUBLISHED[name].params,
                "gmacs": flops.projections / 1e9,
                "gmacs_published": PUBLISHED[name].gmacs,
                "gflops_fvcore": flops.total / 1e9,
            }
        )
    return rows


def segmenter_table(img_size: int = 512) -> list[dict[str, Any]]:
    """One row a segmenter for 150 classes: published figures, and parameters and multiply-adds counted.

    `gflops_fvcore` are billions of multiply-adds for one picture, without the auxiliary head, which is for training;
    `params` are counted with it.
    """
    import torch

    rows = []
    for (head, name), published in PUBLISHED_SEGMENTERS.items():
        with torch.device("meta"):
            model = upernet(name) if head == "upernet" else semantic_fpn(name)
        rows.append(
            {
                "head": head,
                "name": name,
                "params": sum(p.numel() for p in model.parameters()),
                "gflops_fvcore": count_flops(model.eval(), img_size).total / 1e9,
                **{f"{figure}_published": value for figure, value in published._asdict().items()},
            }
        )
    return rows


def print_segmenters(img_size: int = 512, as_json: bool = False) -> None:
    """Print `segmenter_table` for people, or as JSON."""
    rows = segmenter_table(img_size)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    headings = ("mIoU %\npublished", "multi-scale\npublished", "parameters", "M\npublished",
                "GMACs with\nattn, norm", "GFLOPs\npublished")  # fmt: skip
    table = _table(
        f"Segmenters on ADE20K, 150 classes, counted at {img_size} x {img_size}", ("head", "network"), headings
    )
    for row in rows:
        figures = (row["miou_published"], row["miou_multi_scale_published"], f"{row['params']:,}",
                   row["params_published"], f"{row['gflops_fvcore']:.1f}", row["gflops_published"])  # fmt: skip
        table.add_row(row["head"], row["name"], *("" if figure is None else str(figure) for figure in figures))
    need("rich.console", extra="train").Console(width=120).print(table)
    print(
        "Published parameters count the backbone's unused classifier and norm too. Published FLOPs of SVT are nearer to"
    )
    print("what windows padded with zeros cost (window_padding zero) than to these, of clipped windows.")


def detector_table() -> list[dict[str, Any]]:
    """One row a detector for COCO's 80 classes: its parameters, and with the unused ones that the paper counts too."""
    import torch

    from ..heads.detection import mask_rcnn, retinanet

    rows = []
    for detector, build in (("retinanet", retinanet), ("mask_rcnn", mask_rcnn)):
        for name in list_models():
            with torch.device("meta"):
                model, classifier = build(name), create_model(name)
            params = sum(p.numel() for p in model.parameters())
            unused = sum(p.numel() for key, p in classifier.named_parameters() if key.startswith(("norm.", "head.")))
            rows.append({"detector": detector, "name": name, "params": params, "params_with_unused": params + unused})
    return rows


def print_detectors(as_json: bool = False) -> None:
    """Print `detector_table` for people, or as JSON."""
    rows = detector_table()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = _table(
        "Detectors on COCO, 80 classes", ("detector", "network"), ("parameters", "as the paper\ncounts them")
    )
    for row in rows:
        table.add_row(row["detector"], row["name"], f"{row['params']:,}", f"{row['params_with_unused']:,}")
    need("rich.console", extra="train").Console(width=120).print(table)
    print("The paper counts the backbone's unused classifier and norm too.")


def print_zoo(img_size: int = 224, as_json: bool = False) -> None:
    """Print `zoo_table` for people, or as JSON."""
    rows = zoo_table(img_size)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    headings = ("top-1 %\npublished", "parameters", "M\npublished",
                "GMACs conv,\nlinear", "GFLOPs\npublished", "GMACs with\nattn, norm")  # fmt: skip
    table = _table(f"Twins on ImageNet-1k, counted at {img_size} x {img_size}", ("network", "known as"), headings)
    for row in rows:
        table.add_row(
            row["name"], row["title"], f"{row['top1_published']}", f"{row['params']:,}", f"{row['params_published']}",
            f"{row['gmacs']:.3f}", f"{row['gmacs_published']}", f"{row['gflops_fvcore']:.3f}",
        )  # fmt: skip
    need("rich.console", extra="train").Console(width=120).print(table)
    print(
        "GMACs are billions of multiply-adds. Published GFLOPs count those of convolutions and linear layers, at 224;"
    )
    print("the last column adds the two attention products and LayerNorm, by fvcore's convention.")


def _table(title: str, names: tuple[str, ...], figures: tuple[str, ...]) -> Any:
    table = need("rich.table", extra="train").Table(title=title, box=need("rich.box", extra="train").SIMPLE)
    for heading in names:
        table.add_column(heading, no_wrap=True)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
