"""The interface: what each task answers, and what everything else is answered."""

from __future__ import annotations

import base64
import json
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pycocotools import mask as coco_masks

from helpers.servers import encoded, form, noise, problem
from twins.data.images import UnreadableImageError
from twins.data.palette import class_colours, object_colours
from twins.predict import load_predictor
from twins.serve.application import create_application
from twins.serve.models import ServedModel
from twins.serve.page_files import INDEX
from twins.serve.settings import ServeSettings
from twins.serve.stopping import Gate

CLASSES = ["ant", "bee", "cat"]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def of_engine(weights: dict[str, Path], kind: str, **settings: Any) -> Any:
    return load_predictor(weights[kind], "cpu", dtype="fp32", **settings)


# What the tasks answer


def test_a_classifier_answers_what_its_predictor_predicts(client: TestClient, weights: dict[str, Path]) -> None:
    images = [noise(70, 50), noise(40, 90, seed=1)]
    files = form(("a.png", encoded(images[0])), ("b.webp", encoded(images[1], "WEBP", lossless=True)))
    answer = client.post("/predict?topk=2", files=files)
    expected = of_engine(weights, "classify")(images)
    assert answer.status_code == 200
    content = answer.json()
    assert content["request_id"] == answer.headers["x-request-id"]
    assert {name: content[name] for name in ("model", "task")} == {"model": "classify", "task": "classify"}
    assert "colours" not in content
    for result, prediction, name, size in zip(
        content["results"], expected, ("a.png", "b.webp"), ((70, 50), (40, 90)), strict=True
    ):
        assert (result["file"], result["width"], result["height"]) == (name, *size)
        values, labels = prediction.probabilities.topk(2)
        assert result["classes"] == [
            {"label": label, "name": CLASSES[label], "probability": value}
            for label, value in zip(labels.tolist(), values.tolist(), strict=True)
        ]


def test_a_segmenter_answers_a_mask_and_shares(client: TestClient, weights: dict[str, Path]) -> None:
    image = noise(83, 61)
    content = client.post("/predict?model=upernet", files=form(("a.png", encoded(image)))).json()
    expected = of_engine(weights, "upernet")(image)
    (result,) = content["results"]
    with Image.open(BytesIO(base64.b64decode(result["mask"]))) as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (83, 61))
        assert np.array_equal(np.asarray(mask), expected.mask.numpy())
    counts = {CLASSES.index(name): count for name, count in expected.pixels.items()}
    assert [(one["label"], one["name"], one["share"]) for one in result["pixels"]] == [
        (label, CLASSES[label], count / (83 * 61)) for label, count in sorted(counts.items(), key=lambda c: -c[1])
    ]
    assert content["colours"] == class_colours(3).tolist()


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools
def test_a_detector_answers_objects_by_falling_score(client: TestClient, weights: dict[str, Path]) -> None:
    image = noise(83, 61)
    content = client.post("/predict?model=mask_rcnn&conf=0.27", files=form(("a.png", encoded(image)))).json()
    expected = of_engine(weights, "mask_rcnn", conf=0.27)(image)
    assert content["colours"] == object_colours(3).tolist()
    objects = content["results"][0]["objects"]
    assert len(objects) == len(expected) > 2
    assert [one["score"] for one in objects] == expected.scores.tolist() == sorted(expected.scores.tolist())[::-1]
    assert [one["box"] for one in objects] == expected.boxes.tolist()
    assert [(one["label"], one["name"]) for one in objects] == list(
        zip(expected.labels.tolist(), expected.names, strict=True)
    )
    for one, mask in zip(objects, expected.masks, strict=True):
        assert one["mask"]["size"] == [61, 83]
        assert np.array_equal(coco_masks.decode(one["mask"]), mask.numpy())


def test_a_detector_of_boxes_has_no_masks_and_may_find_nothing(client: TestClient) -> None:
    file = form(("a.png", encoded(noise(70, 50))))
    assert client.post("/predict?model=retinanet&conf=1", files=file).json()["results"][0]["objects"] == []
    assert client.post("/predict?model=mask_rcnn&conf=1", files=file).json()["results"][0]["objects"] == []


def test_json_answers_as_a_form_does(client: TestClient) -> None:
    data = encoded(noise(70, 50))
    body = {"images": [{"name": "a.png", "data": base64.b64encode(data).decode()}], "model": "classify", "topk": 1}
    by_json, by_form = (
        client.post("/predict", json=body).json(),
        client.post("/predict?topk=1", files=form(("a.png", data))).json(),
    )
    assert by_json["results"] == by_form["results"]
    assert len(by_json["results"][0]["classes"]) == 1


def test_models_and_limits(client: TestClient) -> None:
    content = client.get("/models").json()
    assert content["limits"] == {"max_images": 32, "max_bytes": 32 * 2**20, "max_megapixels": 179.0}
    assert content["models"][0] == {
        "name": "classify",
        "task": "classify",
        "network": "twins_svt_small",
        "classes": CLASSES,
        "can_attend": True,
        "computed_by": content["models"][0]["computed_by"],
        "default": True,
    }
    assert (content["models"][2]["least_score"], content["models"][2]["category_ids"]) == (0.05, [1, 2, 3])
    assert [(model["name"], model["task"], model["default"]) for model in content["models"][1:]] == [
        ("upernet", "segment", False),
        ("retinanet", "detect", False),
        ("mask_rcnn", "detect", False),
    ]


# How images are read


def odd_images() -> dict[str, bytes]:
    """Images of every kind that people have."""
    image = noise(56, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    alpha = image.copy()
    alpha.putalpha(image.convert("L"))
    return {
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "deep.png": encoded(deep),
        "palette.png": encoded(image.quantize(16)),
        "alpha.png": encoded(alpha),
        "turned.jpg": encoded(image, "JPEG", exif=exif),
        "animated.gif": encoded(image, "GIF", save_all=True, append_images=[noise(56, 40, seed=1)]),
        "bits.png": encoded(image.convert("1")),
        "no suffix": encoded(image, "BMP"),
    }


@pytest.mark.parametrize("name", odd_images())
def test_odd_images_are_read_as_predict_reads_them(
    client: TestClient, weights: dict[str, Path], tmp_path: Path, name: str
) -> None:
    content = odd_images()[name]
    (result,) = client.post("/predict?topk=3", files=form((name, content))).json()["results"]
    predictor = of_engine(weights, "classify", topk=3)
    path = write(tmp_path / name, content)
    expected = predictor(path)
    assert [(one["name"], one["probability"]) for one in result["classes"]] == expected.top
    assert (result["width"], result["height"]) == predictor.read(path).size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF"])
def test_half_an_image_is_refused_or_read_as_predict_does(
    client: TestClient, weights: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    whole = encoded(noise(80, 60), kind)
    half = whole[: len(whole) // 2]
    try:
        expected = of_engine(weights, "classify")(write(tmp_path / f"half.{kind.lower()}", half))
    except UnreadableImageError:
        expected = None
    answer = client.post("/predict", files=form((f"half.{kind.lower()}", half)))
    if expected is None:
        assert f"half.{kind.lower()}" in problem(answer, answer.status_code)
        assert answer.status_code in (415, 422)
    else:
        assert answer.json()["results"][0]["classes"][0]["probability"] == expected.top[0][1]


@pytest.mark.parametrize(("content", "detail"), [
    (b"", "bad.jpg: is empty (0 bytes)"),
    (b"no image, but words\n" * 50, "bad.jpg: cannot identify image file"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "bad.jpg: cannot identify image file"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "bad.jpg: cannot identify image file"),
])  # fmt: skip
def test_what_is_no_image_is_of_no_type_that_is_read(client: TestClient, content: bytes, detail: str) -> None:
    assert problem(client.post("/predict", files=form(("bad.jpg", content))), 415).startswith(detail)


def test_one_bad_image_among_others_has_its_own_error(client: TestClient) -> None:
    good = encoded(noise(70, 50))
    answer = client.post("/predict", files=form(("a.png", good), ("b.png", b"words"), ("c.png", good)))
    assert answer.status_code == 200
    first, bad, last = answer.json()["results"]
    assert first["classes"] == last["classes"]
    assert set(bad) == {"file", "error"}
    assert bad["file"] == "b.png"
    assert (bad["error"]["status"], bad["error"]["title"]) == (415, "Unsupported Media Type")
    all_bad = client.post("/predict", files=form(("a.png", b"words"), ("b.png", b"")))
    assert problem(all_bad, 415).startswith("none of the 2 images can be read: a.png: cannot identify")


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims so many pixels."""
    content = bytearray(encoded(Image.new("L", (1, 1))))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def test_too_many_pixels_are_refused_by_the_header(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    monkeypatch.setattr("twins.serve.service.read_image", lambda *args: decoded.append(args))
    detail = problem(client.post("/predict", files=form(("bomb.png", bomb(60_000, 60_000)))), 413)
    assert detail == "bomb.png: 3,600 megapixels (60000 x 60000), more than 179"
    enlarged = problem(client.post("/predict", files=form(("thin.png", bomb(2_000_000, 1)))), 413)
    assert "once resized for the network" in enlarged
    with_masks = problem(client.post("/predict?model=mask_rcnn", files=form(("a.png", bomb(6000, 6000)))), 413)
    assert with_masks.endswith("more than 25")
    assert decoded == []


# What is refused


@pytest.mark.parametrize(("path", "status", "detail"), [
    ("/predict?model=nobody", 404, "no model 'nobody'; there is classify, upernet, retinanet, mask_rcnn"),
    ("/predict?topk=0", 422, "topk: Input should be greater than or equal to 1"),
    ("/predict?topk=many", 422, "topk: Input should be a valid integer"),
    ("/predict?model=retinanet&conf=2", 422, "conf: Input should be less than or equal to 1"),
    ("/predict?model=retinanet&conf=nan", 422, "conf: Input should be"),
    ("/predict?model=retinanet&conf=0.01", 422, "conf must be 0.05 or more"),
    ("/predict?model=retinanet&topk=1", 422, "topk is for classifiers"),
    ("/predict?conf=0.5", 422, "conf is for detectors"),
])  # fmt: skip
def test_values_that_cannot_be_used(client: TestClient, path: str, status: int, detail: str) -> None:
    assert problem(client.post(path, files=form(("a.png", encoded(noise(70, 50))))), status).startswith(detail)


def test_addresses_and_methods_that_are_not_there(client: TestClient) -> None:
    assert problem(client.get("/nowhere"), 404) == "no such address: /nowhere"
    assert problem(client.get("/predict"), 405) == "GET is not for /predict"
    assert client.get("/predict").headers["allow"] == "POST"
    for path in ("/docs", "/redoc"):  # which would load scripts from elsewhere
        problem(client.get(path), 404)


def test_the_clients_request_id_is_kept_if_it_is_sane(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "a.B_9-"}).headers["x-request-id"] == "a.B_9-"
    for odd in ("two words", "x" * 65, "a;b", ""):
        own = client.get("/healthz", headers={"X-Request-Id": odd}).headers["x-request-id"]
        assert own != odd
        assert len(own) == 12


def test_a_fault_of_ours_is_a_500_with_its_traceback_in_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("twins.serve.service.result_of", fail)
    answer = client.post("/predict", files=form(("a.png", encoded(noise(70, 50)))))
    problem(answer, 500)
    assert "broken" not in answer.text
    error = capsys.readouterr().err
    assert error.startswith(answer.headers["x-request-id"])
    assert "RuntimeError: broken" in error
    monkeypatch.undo()
    assert client.post("/predict", files=form(("a.png", encoded(noise(70, 50))))).status_code == 200


# What stands beside predictions


def test_the_log_has_a_line_for_each_request(models: list[ServedModel], capsys: pytest.CaptureFixture[str]) -> None:
    with TestClient(create_application(models, ServeSettings(()), Gate())) as client:
        file = ("a.png", encoded(noise(70, 50)))
        client.post("/predict", files=form(file, file), headers={"X-Request-Id": "mine"})
        client.get("/no%1b[2Jwhere")
        client.get("/healthz")
    first, second = capsys.readouterr().out.splitlines()
    assert " mine POST /predict 200 " in first
    assert ", classify, 2 images (decoding " in first
    assert r"GET /no\x1b[2Jwhere 404" in second


def test_metrics(client: TestClient) -> None:
    content = encoded(noise(70, 50))
    client.post("/predict", files=form(("a.png", content), ("b.png", content)))
    for path in ("/nowhere/1", "/nowhere/2"):
        client.get(path)
    lines = client.get("/metrics").text.splitlines()
    assert 'twins_requests_total{route="/predict",status="200"} 1.0' in lines
    assert 'twins_requests_total{route="other",status="404"} 2.0' in lines
    assert 'twins_images_total{model="classify"} 2.0' in lines
    assert 'twins_queued_images{model="classify"} 0.0' in lines
    (received,) = (line for line in lines if line.startswith("twins_received_bytes_total "))
    assert float(received.split()[1]) > 2 * len(content)


def test_ready_until_it_stops(models: list[ServedModel]) -> None:
    gate = Gate()
    with TestClient(create_application(models, ServeSettings((), request_log=False), gate)) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        gate.stopping = True
        assert problem(client.get("/readyz"), 503) == "the server stops"
        refused = client.post("/predict", files=form(("a.png", encoded(noise(70, 50)))))
        problem(refused, 503)
        assert refused.headers["connection"] == "close"
        assert client.get("/healthz").status_code == 200


def test_the_schema_has_examples_that_are_json(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert {"/predict", "/attention", "/models", "/healthz", "/readyz", "/metrics"} <= set(schema["paths"])
    predict = schema["paths"]["/predict"]["post"]
    examples = predict["responses"]["200"]["content"]["application/json"]["examples"]
    assert {name: example["value"]["task"] for name, example in examples.items()} == {
        task: task for task in ("classify", "detect", "segment")
    }
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"401", "413", "429", "503"} <= set(predict["responses"])
    assert "$defs" not in json.dumps(schema)


def test_the_page_is_of_its_own_files_alone(
    models: list[ServedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page").mkdir()
    write(tmp_path / "page" / INDEX, b"<!doctype html>")
    write(tmp_path / "page" / "main.js", b"export {};")
    write(tmp_path / "page" / "notes.md", b"not for others")
    write(tmp_path / "secret.js", b"secret")
    monkeypatch.setattr("twins.serve.page_files.files", lambda _: tmp_path)
    with TestClient(create_application(models, ServeSettings((), request_log=False), Gate())) as client:
        index, script = client.get("/"), client.get("/page/main.js")
        assert (index.content, script.content) == (b"<!doctype html>", b"export {};")
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        for answer in (index, script):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        for path in ("notes.md", "../secret.js", "..%2fsecret.js", "%2e%2e/secret.js", "/etc/passwd", "..\\secret.js"):
            answer = client.get(f"/page/{path}")
            problem(answer, 404)
            assert "secret" not in answer.text.replace("secret.js", "")
