"""JPEG files that a classifier sees as libjpeg-turbo and PyTorch make them, where that was asked for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from predict.jobs.test_rows import predict, rows_in
from predict.test_predict import checkpoint, saved
from twins.data.classify.partial_jpeg import open_jpeg
from twins.data.classify.transforms import eval_transform
from twins.data.image_source import ImageBytes
from twins.data.images import UnreadableImageError
from twins.errors import TwinsError
from twins.predict import load_predictor
from twins.predict.loading import load_embedder
from twins.predict.predictors import Predictor
from twins.recipes.classify import DECODERS

pytestmark = pytest.mark.skipif(find_spec("simplejpeg") is None, reason="simplejpeg (turbo) is not installed")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Soft shapes, as photographs are."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    file = tmp_path / "photos" / "a.jpg"
    file.parent.mkdir()
    Image.fromarray(coarse).resize((160, 121), Image.Resampling.BICUBIC).save(file, quality=90)
    return file


def with_turbo(predictor: Predictor[Any]) -> Predictor[Any]:
    predictor.use_decoder("turbo")
    return predictor


def of_255(one: Tensor, other: Tensor) -> Tensor:
    """Differences of two images that were normalised by a deviation of 0.3."""
    return (one - other).abs() * 0.3 * 255


def test_every_way_in_sees_the_same(tmp_path: Path, photo: Path) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    pillow, turbo = load_predictor(weights, "cpu"), with_turbo(load_predictor(weights, "cpu"))
    expected = eval_transform(turbo.info.preprocessing)(open_jpeg(photo))
    as_bytes = ImageBytes("no suffix", photo.read_bytes())
    for prepared in (turbo.prepare(photo), turbo.prepare(as_bytes)):
        assert prepared.size == (121, 160)
        assert torch.equal(prepared.tensor, expected)
    assert torch.equal(turbo.transform(photo), expected)
    probabilities = turbo.model(expected[None]).softmax(dim=1)[0]
    torch.testing.assert_close(turbo(photo).probabilities, probabilities.detach())
    difference = of_255(expected, pillow.transform(photo))
    assert 0 < difference.max() < 8
    assert difference.mean() < 1
    assert torch.equal(pillow.prepare(photo).tensor, pillow.as_tensor(pillow.read(photo)))


def test_what_is_no_jpeg_file_is_read_as_ever(tmp_path: Path, photo: Path) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    pillow, turbo = load_predictor(weights, "cpu"), with_turbo(load_predictor(weights, "cpu"))
    png = saved(tmp_path / "b.png", 90, 60)
    with Image.open(photo) as opened:
        for image in (png, opened, np.asarray(opened)):
            assert torch.equal(turbo.transform(image), pillow.transform(image))
    (tmp_path / "broken.jpg").write_bytes(photo.read_bytes()[:400])
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("broken.jpg", "text.jpg"):
        with pytest.raises(UnreadableImageError, match=name):
            turbo.prepare(tmp_path / name)


@pytest.mark.parametrize(("kind", "channels", "img_size", "decoder", "line"), [
    ("upernet", 3, 48, "turbo", "is for classifiers, which .*upernet.pth is not"),
    ("classify", 1, 48, "turbo", "is for colour images of more than 32 pixels a side, and .*classify.pth sees others"),
    ("classify", 3, 32, "turbo", "is for colour images of more than 32 pixels a side"),
    ("classify", 3, 48, "turbo2", r"--decoder must be pillow or turbo, not 'turbo2' \(did you mean turbo\?\)"),
])  # fmt: skip
def test_networks_that_it_is_not_for(
    tmp_path: Path, kind: str, channels: int, img_size: int, decoder: str, line: str
) -> None:
    normal = {"mean": [0.4] * channels, "std": [0.3] * channels}
    sees = {} if kind == "upernet" else {"meta": {"preprocessing": {"img_size": img_size, **normal}}}
    weights, _ = checkpoint(tmp_path, kind, channels, **sees)
    with pytest.raises(TwinsError, match=line):
        load_predictor(weights, "cpu").use_decoder(decoder)


def test_a_job_has_the_rows_of_its_decoder(tmp_path: Path, photo: Path) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    argv = (photo.parent, "--weights", weights, "--format", "parquet")
    for decoder in DECODERS:
        assert predict(*argv, "--decoder", decoder, "--out", tmp_path / decoder) == 0
    pillow, turbo = (rows_in(tmp_path / decoder)[0]["probability"] for decoder in DECODERS)
    assert turbo == pytest.approx(with_turbo(load_predictor(weights, "cpu"))(photo).top[0][1], abs=1e-6)
    assert pillow != turbo
    assert predict(*argv, "--decoder", "turbo", "--embed", "--out", tmp_path / "vectors") == 0
    expected = with_turbo(load_embedder(weights, "cpu"))(photo).features
    assert rows_in(tmp_path / "vectors")[0]["embedding"] == pytest.approx(expected.tolist(), abs=1e-5)
