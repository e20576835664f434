"""What a client is told when a request cannot be answered: problem details, RFC 9457."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from ..shown_text import shown

MEDIA_TYPE = "application/problem+json"
LONGEST = 500  # characters of a detail, which may quote what was sent


class ProblemError(Exception):
    """A request, or one of its images, that is refused; `detail` is one line for people."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        line = shown(detail)
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ...")
        self.status, self.headers = status, dict(headers or {})

    @property
    def fields(self) -> dict[str, Any]:
        """`title`, `detail` and `status`, as in the answers of the server."""
        return {"title": HTTPStatus(self.status).phrase, "detail": str(self), "status": self.status}

    def response(self, request_id: str) -> JSONResponse:
        """The whole answer."""
        content = {"type": "about:blank", **self.fields, "request_id": request_id}
        return JSONResponse(content, self.status, headers=self.headers, media_type=MEDIA_TYPE)


def busy(what: str, seconds: float) -> ProblemError:
    """429: the client may come again in so many seconds."""
    return ProblemError(429, f"{what}; try again later", {"Retry-After": str(min(max(round(seconds), 1), 60))})
