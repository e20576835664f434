"""Whether data holds boxes, for who expected something else there."""

from __future__ import annotations

from pathlib import Path

from .coco import annotated_parts, hint_at_json
from .coco_file import looks_like_coco
from .yolo import yolo_file
from .yolo_yaml import top_fields


def boxes_at(path: Path) -> str:
    """In words, to go on with the path in a message; "" where a folder or a file has none."""
    if path.is_file():
        if looks_like_coco(path):
            return "looks like COCO's annotations of objects"
        return "looks like the YAML file of YOLO's layout" if {"names", "train"} <= top_fields(path) else ""
    if annotated_parts(path) or yolo_file(path):
        return "holds boxes of objects"
    return f"holds boxes of objects{hint}" if (hint := hint_at_json(path)) else ""
