"""The server's page in a browser, and what was asked, said and drawn there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .chromium import DESKTOP
from .stand_in_server import Answer, Asked

REFUSED = "Failed to load resource: the server responded with a status of"  # what Chromium says of any 4xx


class Visit:
    """The page of the server at `url`."""

    def __init__(
        self,
        browser: Any,
        url: str,
        viewport: dict[str, int] = DESKTOP,
        scheme: str = "light",
        before: str = "",
        **context: Any,
    ) -> None:
        self.url = url
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, **context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if before:
            self.page.add_init_script(before)
        self.page.goto(url)
        self.page.locator("#model option, dialog[open]").first.wait_for(state="attached")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        """What holds of every visit: nothing is asked elsewhere, and the browser finds no fault with the page."""
        self.context.close()
        if failed is None:
            faults = [message for message in self.messages if not message.startswith(REFUSED)]
            elsewhere = [url for url in self.requests if not url.startswith((self.url, "blob:"))]
            assert (faults, elsewhere) == ([], [])

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector)).strip()

    def choose(self, *files: Path) -> None:
        self.page.set_input_files("#choose", [str(file) for file in files])

    def wait_for_text(self, selector: str, text: str) -> None:
        """Until a part of the page has it."""
        self.page.locator(selector).filter(has_text=text).wait_for(state="attached")

    def pixel(self, x: float, y: float) -> list[int]:
        """Red, green and blue that the stage shows at a pixel of an image, whose width the caption has."""
        return list(
            self.run(
                """async ([x, y]) => {
                    const stage = document.querySelector("#stage");
                    const width = parseInt(document.querySelector("#image-size").textContent, 10);
                    let drawn = null;
                    while (drawn !== stage.dataset.drawn || !drawn) {
                        drawn = stage.dataset.drawn;
                        await new Promise((done) => setTimeout(done, 60));
                    }
                    const scale = stage.width / width;
                    const at = [Math.floor((x + 0.5) * scale), Math.floor((y + 0.5) * scale)];
                    const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
                    copy.drawImage(stage, ...at, 1, 1, 0, 0, 1, 1);
                    return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
                }""",
                [x, y],
            )
        )

    def download(self, button: str) -> str:
        with self.page.expect_download() as downloading:
            self.page.click(button)
        return Path(downloading.value.path()).read_bytes().decode("utf-8")


def model(name: str, task: str, classes: Sequence[str], can_attend: bool = True) -> dict[str, Any]:
    """As `GET /models` has it."""
    return {
        "name": name,
        "task": task,
        "network": "twins_svt_small",
        "classes": list(classes),
        "can_attend": can_attend,
        "computed_by": "engine fp32, CPU",
        **({"least_score": 0.05, "category_ids": list(range(1, len(classes) + 1))} if task == "detect" else {}),
    }


def png_bytes(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) uint8 as a PNG file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def always(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda _: answer
