"""The model zoo, counted from the live networks, beside what was published."""

from __future__ import annotations

import json
from typing import Any

from .extras import need
from .flops import count_flops
from .zoo import PUBLISHED, create_model, list_models


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


def print_zoo(img_size: int = 224, as_json: bool = False) -> None:
    """Print `zoo_table` for people, or as JSON."""
    rows = zoo_table(img_size)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = need("rich.table", extra="train").Table(
        title=f"Twins on ImageNet-1k, counted at {img_size} x {img_size}", box=need("rich.box", extra="train").SIMPLE
    )
    for heading in ("network", "known as"):
        table.add_column(heading, no_wrap=True)
    for heading in ("top-1 %\npublished", "parameters", "M\npublished",
                    "GMACs conv,\nlinear", "GFLOPs\npublished", "GMACs with\nattn, norm"):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
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
