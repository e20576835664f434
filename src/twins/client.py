"""A client of `twins serve`, of the standard library alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .errors import TwinsError


class Client:
    """A server by its address: `Client("http://127.0.0.1:8000").predict(["cat.jpg"])[0]["classes"][0]["name"]`."""

    def __init__(self, url: str = "http://127.0.0.1:8000", api_key: str | None = None, timeout: float = 60.0) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout
        self.headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {api_key}"} if api_key else {}
        )

    def predict(self, images: Sequence[str | Path | bytes], **values: Any) -> list[dict[str, Any]]:
        """A result for each image, a path or the bytes of a file; `values` are `model`, `topk` and `conf`.

        A result is as `POST /predict` has it; of an image that cannot be read, among others, it has an "error".
        Raises TwinsError for a file that cannot be read, with what the server says where it refuses the request, and
        where there is no server.
        """
        encoded = [_encoded(image, number) for number, image in enumerate(images, 1)]
        body = json.dumps({"images": encoded, **values}).encode()
        try:
            with urlopen(Request(f"{self.url}/predict", body, self.headers), timeout=self.timeout) as answer:
                results: list[dict[str, Any]] = json.load(answer)["results"]
                return results
        except HTTPError as error:
            raise TwinsError(f"{self.url}: {_detail(error)}") from error
        except (URLError, TimeoutError, ConnectionError) as error:
            raise TwinsError(f"{self.url}: no answer ({error}); is `twins serve` running there?") from error


def _encoded(image: str | Path | bytes, number: int) -> dict[str, str]:
    if isinstance(image, bytes):
        return {"name": f"image {number}", "data": base64.b64encode(image).decode()}
    try:
        return {"name": str(image), "data": base64.b64encode(Path(image).read_bytes()).decode()}
    except OSError as error:
        raise TwinsError(f"{image}: cannot be read ({error.strerror})") from error


def _detail(error: HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, LookupError, TypeError):  # of a proxy, perhaps
        return f"{error.code} {error.reason}"
