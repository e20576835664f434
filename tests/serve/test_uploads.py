"""Bodies of requests: limits, forms that are no forms, and not a byte on the disk."""

from __future__ import annotations

import base64
import builtins
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from helpers.servers import encoded, form, noise, problem
from twins.serve.application import create_application
from twins.serve.models import ServedModel
from twins.serve.settings import ServeSettings
from twins.serve.stopping import Gate

LIMITED = ServeSettings((), request_log=False, max_upload_mb=0.125, max_images=3, queue=4)
FORM = {"content-type": "multipart/form-data; boundary=xyz"}


@pytest.fixture
def limited(models: list[ServedModel]) -> Iterator[TestClient]:
    with TestClient(create_application(models, LIMITED, Gate())) as opened:
        yield opened


def part(name: str = "images", filename: str = "a.png", content: bytes = b"") -> bytes:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def test_too_many_bytes_are_refused_announced_or_not(limited: TestClient) -> None:
    large = b"\0" * 200_000
    answer = limited.post("/predict", files=form(("a.png", large)))
    assert problem(answer, 413) == "the request has more than 131,072 bytes"

    def unannounced() -> Iterator[bytes]:
        yield part(content=large)

    answer = limited.post("/predict", content=unannounced(), headers=FORM)
    assert problem(answer, 413) == "the request has more than 131,072 bytes"
    for announced in ("9" * 5000, "200000"):
        answer = limited.post("/predict", content=part(), headers={**FORM, "content-length": announced})
        problem(answer, 413)


def test_too_many_images(limited: TestClient) -> None:
    good = encoded(noise(20, 20))
    assert limited.post("/predict", files=form(*[("a.png", good)] * 3)).status_code == 200
    assert problem(limited.post("/predict", files=form(*[("a.png", good)] * 4)), 413) == (
        "the request has more than 3 images"
    )
    body = {"images": [{"data": base64.b64encode(good).decode()}] * 4}
    assert problem(limited.post("/predict", json=body), 413) == "the request has more than 3 images"


def test_bytes_that_were_read_are_forgotten(limited: TestClient) -> None:
    """The room of bytes would be full after sixteen requests."""
    for _ in range(40):
        problem(limited.post("/predict", files=form(("a.png", b"\0" * 100_000))), 415)


@pytest.mark.parametrize(("body", "status", "detail"), [
    (part(content=b"x"), 400, "the form ends before its last boundary"),
    (b"", 400, "the form ends before its last boundary"),
    (b"no form at all", 400, "malformed form"),
    (b"--xyz\r\n\r\nx\r\n--xyz--\r\n", 422, "no field '' is known"),
    (part("other") + b"--xyz--\r\n", 422, "no field 'other' is known"),
    (b"--xyz--\r\n", 422, "no image: send one or more files in the field 'images'"),
    (b"--xyz\r\n" + b"X-Long: " + b"x" * 9000 + b"\r\n\r\nx\r\n--xyz--\r\n", 400, "malformed form"),
    (b"--xyz\r\n" + b"X: x\r\n" * 50 + b"\r\nx\r\n--xyz--\r\n", 400, "malformed form"),
])  # fmt: skip
def test_forms_that_are_none(limited: TestClient, body: bytes, status: int, detail: str) -> None:
    assert problem(limited.post("/predict", content=body, headers=FORM), status).startswith(detail)


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/mixed; boundary=x", "application/x-www-form-urlencoded"])
def test_other_types_of_content(limited: TestClient, kind: str) -> None:
    answer = limited.post("/predict", content=b"x", headers={"content-type": kind})
    assert problem(answer, 415).startswith("content of type multipart/form-data or application/json is needed")


def test_forms_without_a_boundary(limited: TestClient) -> None:
    for kind in ("multipart/form-data", f"multipart/form-data; boundary={'x' * 300}"):
        problem(limited.post("/predict", content=b"x", headers={"content-type": kind}), 400)


@pytest.mark.parametrize(("body", "status", "detail"), [
    (b"{", 400, "Invalid JSON"),
    (b"[" * 100_000, 400, "Invalid JSON"),
    (b"\xff\xfe", 400, "Invalid JSON"),
    (b"[]", 422, "Input should be an object"),
    (b"{}", 422, "images: Field required"),
    (b'{"images": []}', 422, "no image"),
    (b'{"images": [{"data": "@@"}]}', 422, "images.0.data: no base64"),
    ('{"images": [{"data": "é"}]}'.encode(), 422, "images.0.data: no base64"),
    (b'{"images": [{"data": 7}]}', 422, "images.0.data: Input should be a valid string"),
    (b'{"images": [{"path": "/etc/passwd"}]}', 422, "images.0.data: Field required"),
    (b'{"images": [{"data": "", "url": "file:///etc/passwd"}]}', 422, "images.0.url: Extra inputs"),
    (b'{"images": [{"data": ""}], "topk": 1e999}', 422, "topk: "),
    (b'{"images": [{"data": ""}], "topk": 0}', 422, "topk: "),
    (b'{"images": [{"data": ""}], "conf": NaN}', 422, "conf: "),
    (b'{"images": [{"name": "a.png", "data": ""}]}', 415, "a.png: is empty (0 bytes)"),
])  # fmt: skip
def test_json_that_cannot_be_used(limited: TestClient, body: bytes, status: int, detail: str) -> None:
    answer = limited.post("/predict", content=body, headers={"content-type": "application/json"})
    assert problem(answer, status).startswith(detail)


def test_names_of_files_are_shown_and_never_opened(limited: TestClient) -> None:
    good = encoded(noise(20, 20))
    for name in ("../../etc/passwd", "/etc/passwd", "naïve \N{SNOWMAN}.png", "x" * 400):
        (result,) = limited.post("/predict", files=form((name, good))).json()["results"]
        assert result["file"] == name[:255]
        assert "root:" not in problem(limited.post("/predict", files=form((name, b"words"))), 415)


def test_the_queue_is_full_for_those_who_find_no_place(
    models: list[ServedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    application = create_application(models, LIMITED, Gate())
    monkeypatch.setattr("twins.serve.rooms.Room.take", lambda self, places: _refuse(self, places))
    with TestClient(application) as client:
        answer = client.post("/predict", files=form(("a.png", encoded(noise(20, 20)))))
    assert problem(answer, 429).endswith("try again later")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def _refuse(room: Any, places: int) -> None:
    if room.size == LIMITED.queue:
        raise room.refusal()


def test_nothing_is_written_to_the_disk(models: list[ServedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even files that the framework's own parser would put aside, of more than a megabyte."""
    opened: list[Any] = []
    real = builtins.open

    def watched(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            opened.append(file)
        return real(file, mode, *args, **kwargs)

    image = encoded(noise(1200, 900), "BMP")
    assert len(image) > 3_000_000
    settings = replace(LIMITED, max_upload_mb=16)
    with TestClient(create_application(models, settings, Gate())) as client:
        monkeypatch.setattr(builtins, "open", watched)
        for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
            monkeypatch.setattr(tempfile, name, lambda *args, **kwargs: opened.append(args))
        answer = client.post("/predict", files=form(("a.bmp", image), ("b.bmp", image)))
    assert answer.status_code == 200
    assert opened == []
