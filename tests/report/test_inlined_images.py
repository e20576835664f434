"""Images within a page: as they are, or as small as they have to be."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from helpers.run_folders import write_noise
from twins.report.inlined_images import data_uri


def test_a_small_file_is_taken_as_it_is(tmp_path: Path) -> None:
    write_noise(tmp_path / "a.png", 20, 10)
    uri = data_uri(tmp_path / "a.png", 20, 5000)
    assert uri is not None
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (tmp_path / "a.png").read_bytes()


def test_a_large_one_is_shrunk_until_it_fits(tmp_path: Path) -> None:
    write_noise(tmp_path / "a.png", 800, 400)
    for side, most_bytes in ((400, 10**6), (800, 20_000)):
        uri = data_uri(tmp_path / "a.png", side, most_bytes)
        assert uri is not None
        data = base64.b64decode(uri.partition(",")[2])
        assert len(data) <= most_bytes
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "WEBP"
            assert max(image.size) <= side
            assert image.width / image.height == pytest.approx(2, rel=0.01)


def test_what_is_no_image_is_left_out(tmp_path: Path) -> None:
    assert data_uri(tmp_path / "none.png", 10, 10) is None
    (tmp_path / "text.png").write_text("no image")
    assert data_uri(tmp_path / "text.png", 10, 10) is None
