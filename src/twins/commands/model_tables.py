"""The model zoo, counted from the live networks, beside what was published."""

from __future__ import annotations

import json
from typing import Any

from ..flops import count_flops
from ..heads.segmentation import SEGMENTERS
from ..optional_dependencies import need
from ..zoo import PUBLISHED, PUBLISHED_SEGMENTERS, create_model, list_models


def zoo_table(img_size: int = 224) -> list[dict[str, Any]]:
    """One row a network: published accuracy, and parameters and multiply-adds both counted and published.

    Both counts are billions of multiply-adds for one image of `img_size` pixels a side: `gmacs` of convolutions
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
    """One row a segmenter for 150 classes: published metrics, and parameters and multiply-adds counted.

    `gflops_fvcore` are billions of multiply-adds for one image, without the auxiliary head, which is for training;
    `params` are counted with it.
    """
    import torch

    rows = []
    for (head, name), published in PUBLISHED_SEGMENTERS.items():
        with torch.device("meta"):
            model = SEGMENTERS[head](name)
        rows.append(
            {
                "head": head,
                "name": name,
                "params": sum(p.numel() for p in model.parameters()),
                "gflops_fvcore": count_flops(model.eval(), img_size).total / 1e9,
                **{f"{metric}_published": value for metric, value in published._asdict().items()},
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
        metrics = (row["miou_published"], row["miou_multi_scale_published"], f"{row['params']:,}",
                   row["params_published"], f"{row['gflops_fvcore']:.1f}", row["gflops_published"])  # fmt: skip
        table.add_row(row["head"], row["name"], *("" if metric is None else str(metric) for metric in metrics))
    need("rich.console", extra="train").Console(width=120).print(table)
    print(
        "Published parameters count the backbone's unused classifier and norm too. Published FLOPs of SVT are nearer to"
    )
    print("what windows padded with zeros cost (window_padding zero) than to these, of clipped windows.")


def detector_table() -> list[dict[str, Any]]:
    """One row a detector for COCO's 80 classes: its parameters, and with the unused ones that the paper counts too."""
    import torch

    from ..heads.detection import DETECTORS

    rows = []
    for detector, build in DETECTORS.items():
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


def _table(title: str, names: tuple[str, ...], metrics: tuple[str, ...]) -> Any:
    table = need("rich.table", extra="train").Table(title=title, box=need("rich.box", extra="train").SIMPLE)
    for heading in names:
        table.add_column(heading, no_wrap=True)
    for heading in metrics:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
