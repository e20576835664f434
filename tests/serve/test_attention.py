"""What a network attends to from a pixel."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from helpers.eager_exports import as_exported
from helpers.servers import encoded, form, noise, problem
from twins.explain.attention import attention_maps
from twins.predict import load_predictor
from twins.serve import models as serve_models
from twins.serve.application import create_application
from twins.serve.settings import ServeSettings
from twins.serve.stopping import Gate


@pytest.mark.parametrize(("kind", "size", "seen", "cells"), [
    ("classify", (70, 50), (13, 3, 58, 47), (12, 12)),  # 48 x 48 in the middle of 75 x 54
    ("upernet", (96, 48), (0, 0, 96, 48), (12, 24)),
    ("retinanet", (80, 48), (0, 0, 80, 48), (12, 20)),  # padded to 64 x 96 inside
])  # fmt: skip
def test_attention_is_the_rollout_to_the_token_there(
    client: TestClient, weights: dict[str, Path], kind: str, size: tuple[int, int], seen: tuple[int, ...],
    cells: tuple[int, int],
) -> None:  # fmt: skip
    image = noise(*size)
    answer = client.post(f"/attention?model={kind}&x=40&y=20", files=form(("a.png", encoded(image)), field="image"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert tuple(map(int, answer.headers["x-seen"].split(","))) == seen
    with Image.open(BytesIO(answer.content)) as png:
        assert png.mode == "L"
        grey = np.asarray(png)
    assert grey.shape == cells
    assert grey.max() == 255
    predictor = load_predictor(weights[kind], "cpu")
    view = predictor.transform(image)
    maps = attention_maps(predictor.model, [view] if kind == "retinanet" else view[None])
    row, column = {"classify": (18, 29), "upernet": (20, 40), "retinanet": (20, 40)}[kind]
    heat = maps.rollout(maps.blocks[-1].token_at(row, column))[0][: cells[0], : cells[1]]
    expected = (255 * heat / heat.max()).round().to(torch.uint8).numpy()
    assert np.abs(grey.astype(int) - expected).max() <= 1


def test_pixels_that_cannot_be_asked_about(client: TestClient) -> None:
    file = form(("a.png", encoded(noise(70, 50))), field="image")
    assert (
        problem(client.post("/attention?x=70&y=0", files=file), 422) == "x=70, y=0 lies outside of the image, 70 x 50"
    )
    assert "outside of what the network sees" in problem(client.post("/attention?x=0&y=25", files=file), 422)
    assert problem(client.post("/attention?x=1", files=file), 422) == "y: Field required"
    assert problem(client.post("/attention?x=1&y=1.5", files=file), 422).startswith(
        "y: Input should be a valid integer"
    )
    two = form(("a.png", b"x"), ("b.png", b"x"), field="image")
    problem(client.post("/attention?x=1&y=1", files=two), 413)
    problem(client.post("/attention?x=1&y=1", files=form(("a.png", b"words"), field="image")), 415)
    problem(client.post("/attention?x=1&y=1", json={"images": []}), 415)


def test_an_exported_file_hides_its_network(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_models, "info_of", lambda path: as_exported(Path(path)))
    served = serve_models.open_models(ServeSettings((str(weights["classify"]),)))
    with TestClient(create_application(served, ServeSettings((), request_log=False), Gate())) as client:
        assert client.get("/models").json()["models"][0]["can_attend"] is False
        file = encoded(noise(70, 50))
        assert client.post("/predict", files=form(("a.png", file))).status_code == 200
        answer = client.post("/attention?x=1&y=1", files=form(("a.png", file), field="image"))
        assert problem(answer, 409).endswith("is an exported file, which hides its network: serve the checkpoint")
