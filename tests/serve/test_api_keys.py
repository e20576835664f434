"""Who is answered by a server with keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from helpers.servers import encoded, form, noise, problem
from twins.errors import TwinsError
from twins.serve.api_keys import read_api_keys
from twins.serve.application import create_application
from twins.serve.models import ServedModel
from twins.serve.settings import ServeSettings
from twins.serve.stopping import Gate


@pytest.fixture
def locked(models: list[ServedModel]) -> Iterator[TestClient]:
    settings = ServeSettings((), request_log=False, api_keys=("first-key", "second-key"))
    with TestClient(create_application(models, settings, Gate())) as opened:
        yield opened


def test_who_knows_a_key_is_answered(locked: TestClient) -> None:
    for key in ("first-key", "second-key"):
        headers = {"Authorization": f"Bearer {key}"}
        file = form(("a.png", encoded(noise(20, 20))))
        assert locked.post("/predict", files=file, headers=headers).status_code == 200
        assert locked.get("/models", headers=headers).status_code == 200
        assert locked.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer first", "Bearer first-key2",
                                           "first-key", "Basic first-key", "Bearer first-key second-key",
                                           "Bearer \xfc"])  # fmt: skip
def test_who_does_not_is_not(locked: TestClient, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    for path in ("/models", "/metrics", "/openapi.json", "/nowhere"):
        answer = locked.get(path, headers=headers)
        assert "Authorization: Bearer TOKEN" in problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    problem(locked.post("/predict", content=b"x", headers=headers), 401)


def test_the_page_and_the_pulse_are_open(locked: TestClient) -> None:
    for probe in ("/healthz", "/readyz"):
        assert locked.get(probe).status_code == 200
    for path in ("/", "/page/no-such-file.js"):
        assert locked.get(path).status_code in (200, 404)


@pytest.mark.parametrize(("content", "line"), [
    (None, "cannot be read"),
    (b"", "is empty; write a long random key into it"),
    (b" \n\n", "is empty"),
    (b"\xff\xfe", "cannot be read"),
    (b"two words\n", "key 1 has other characters than a header can carry"),
    ("good\nschl\u00fcssel\n".encode(), "key 2 has other characters"),
])  # fmt: skip
def test_files_of_keys_that_cannot_be_used(tmp_path: Path, content: bytes | None, line: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TwinsError, match=line) as refused:
        read_api_keys(path)
    assert f"--api-key-file {path}: " in str(refused.value)


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one\n\n  two  \r\n")
    assert read_api_keys(path) == ("one", "two")
