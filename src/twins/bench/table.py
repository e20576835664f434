"""The results of one case as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..optional_dependencies import need
from .plan import Case
from .rows import Row

_COLUMNS = (  # heading, key of a row, format
    ("images/s", "images_per_second", "{:.2f}"),
    ("ms/image", "ms_per_image", "{:.1f}"),
    ("x timm\neager", "speedup_over_timm", "{:.2f}"),
    ("x OpenVINO\nsame type", "speedup_over_openvino", "{:.2f}"),
    ("x ONNX RT\nsame type", "speedup_over_onnxruntime", "{:.2f}"),
    ("GFLOP/s", "gflops", "{:.0f}"),
    ("of\nroofline", "of_roofline", "{:.0%}"),
    ("top-1\n%", "top1", "{:.2f}"),
    ("error", "error", "{:.1e}"),
    ("read\nms", "read_ms", "{:.2f}"),
    ("crop\nms", "crop_ms", "{:.2f}"),
    ("augment\nms", "augment_ms", "{:.2f}"),
    ("tensor\nms", "tensor_ms", "{:.2f}"),
    ("peak MB", "peak_mb", "{:.0f}"),
    ("held MB", "held_mb", "{:.0f}"),
)


def table_of(case: Case, rows: Sequence[Row], machine: Mapping[str, Any]) -> Any:
    """A rich table of one case: a row for each backend, a column for each metric that some row has."""
    about = f"{machine['cpu']}, {machine['threads']} threads"
    table = need("rich.table", extra="train").Table(
        title=f"{case.title}\n{about}", box=need("rich.box", extra="train").SIMPLE
    )
    table.add_column("backend", no_wrap=True)
    columns = [column for column in _COLUMNS if any(column[1] in row for row in rows)]
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["backend"], *(_cell(row, key, template) for _, key, template in columns))
    table.caption = "\n".join(f"{row['backend']}: {remarks}" for row in rows if (remarks := _remarks(row))) or None
    table.caption_justify = "left"
    return table


def _remarks(row: Row) -> str:
    return "; ".join(filter(None, [row.get("executed"), row["note"]]))


def _cell(row: Row, key: str, template: str) -> str:
    if key == "error" and row.get("parity") is False:
        return template.format(row[key]) + " !"
    if key == "images_per_second" and row.get("parity") is False and key not in row:
        return "differs"
    return template.format(row[key]) if key in row else ""
