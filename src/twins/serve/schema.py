"""What the interface takes and returns, for checking and for /openapi.json."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

TOPK, CONF = 5, 0.3  # unless a request says otherwise


class ImageData(BaseModel):
    """An image in JSON."""

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    data: str = Field(description="the file's bytes in base64")


class PredictBody(BaseModel):
    """A prediction that is asked for in JSON; what is not here may stand in the query."""

    model_config = ConfigDict(extra="forbid")

    images: list[ImageData]
    model: str | None = None
    topk: int | None = Field(None, ge=1)
    conf: float | None = Field(None, ge=0, le=1)


_CLASSIFIED = {
    "file": "cat.jpg",
    "width": 640,
    "height": 480,
    "classes": [
        {"label": 3, "name": "cat", "probability": 0.93},
        {"label": 5, "name": "dog", "probability": 0.05},
    ],
}
_DETECTED = {
    "file": "street.jpg",
    "width": 640,
    "height": 480,
    "objects": [
        {
            "label": 3,
            "name": "car",
            "score": 0.93,
            "box": [12.5, 40.0, 310.2, 220.7],
            "mask": {"size": [480, 640], "counts": "only from Mask R-CNN: COCO's compressed RLE"},
        }
    ],
}
_SEGMENTED = {
    "file": "sea.jpg",
    "width": 640,
    "height": 480,
    "mask": "iVBORw0KGgo... (base64 of a grey PNG of class indices)",
    "pixels": [{"label": 2, "name": "sky", "share": 0.61}, {"label": 21, "name": "water", "share": 0.39}],
}
_BAD_IMAGE = {
    "file": "notes.jpg",
    "error": {
        "title": "Unsupported Media Type",
        "detail": "notes.jpg: cannot identify image file: damaged, or of no format that is read",
        "status": 415,
    },
}


def _answer(model: str, task: str, results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"value": {"model": model, "task": task, "request_id": "4f1c02a7d83b", "results": results, **more}}


_ANSWERS = {
    "classify": _answer("flowers", "classify", [_CLASSIFIED, _BAD_IMAGE]),
    "detect": _answer("streets", "detect", [_DETECTED], colours=[[255, 38, 38]]),
    "segment": _answer("scenes", "segment", [_SEGMENTED], colours=[[41, 41, 51]]),
}
_PROBLEM = {
    "type": "about:blank",
    "title": "Too Many Requests",
    "status": 429,
    "detail": "the queue of digits is full; try again later",
    "request_id": "4f1c02a7d83b",
}
_WHY = {
    400: "malformed",
    401: "no token, or a wrong one",
    404: "no such model",
    408: "too slow",
    413: "too many bytes, pixels or images",
    415: "of no format that is read",
    422: "a value that cannot be used",
    429: "the queue is full: come again after `Retry-After` seconds",
    503: "the server stops",
}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/problem+json": {"example": _PROBLEM | {"status": status}}}}
    for status, why in _WHY.items()
}
PREDICTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "a result for each image, in the order of the files",
        "content": {"application/json": {"examples": _ANSWERS}},
    }
}
ATTENDED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "how much the place attends to each other place, scaled to its maximum; the header X-Seen has "
        "the part of the upright image that it covers: x0,y0,x1,y1",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    409: {"description": "the model is an exported file, which hides its network"},
}


def _form(field: str, files: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": {field: files}, "required": [field]}}


_FILE = {"type": "string", "format": "binary"}
_IMAGE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "data": {"type": "string", "format": "byte"}},
    "required": ["data"],
}
_JSON = {
    "images": {"type": "array", "items": _IMAGE},
    "model": {"type": "string"},
    "topk": {"type": "integer", "minimum": 1},
    "conf": {"type": "number", "minimum": 0, "maximum": 1},
}
PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _form("images", {"type": "array", "items": _FILE}),
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": _JSON,
                    "required": ["images"],
                    "additionalProperties": False,
                },
                "example": {"images": [{"name": "cat.jpg", "data": "/9j/4AAQSkZJRg..."}], "topk": 3},
            },
        },
    }
}
ATTENTION_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": _form("image", _FILE)}}}
