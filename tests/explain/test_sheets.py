"""`twins predict --explain`: a sheet for each image, of what was asked, and one line for what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import twins
from helpers.command_line import refusal
from helpers.tiny import TINY
from twins.cli import main
from twins.commands.predict import EXPLANATIONS
from twins.explain import sheets
from twins.explain.question import KINDS, Question
from twins.explain.sheets import SheetWriter
from twins.explain.views import view_of
from twins.plots import heat_maps
from twins.plots.heat_maps import HeatMap, draw_heat_maps
from twins.predict import find_images, load_predictor

CLASSES = ("ant", "bee", "cat")
SMALL = TINY | {"depths": (2, 2, 1, 2), "num_classes": 3}


def checkpoint(folder: Path, task: str) -> Path:
    """A tiny network of a task, with weights large enough that its outputs depend on the image."""
    facts: dict[str, Any] = {"preprocessing": {"img_size": 64}}
    settings: dict[str, Any] = SMALL
    if task == "classify":
        network: nn.Module = twins.create_model("twins_svt_small", **settings)
    elif task == "segment":
        settings = settings | {"channels": 16}
        network = twins.upernet("twins_svt_small", **settings)
        facts = {"head": "upernet", "preprocessing": {"resize": [192, 64]}}
    else:
        settings = settings | {"channels": 16}
        network = twins.retinanet("twins_svt_small", **settings)
        facts = {"detector": "retinanet", "preprocessing": {"min_size": 64, "max_size": 96}}
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and "retina_cls" not in name:
            nn.init.normal_(parameter, std=0.1)
    meta = {"task": task, "name": "twins_svt_small", "create_model": settings, "classes": CLASSES} | facts
    path = folder / f"{task}.pth"
    torch.save({"format": "twins-1", "model": network.state_dict(), "meta": meta}, path)
    return path


def photographs(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir()
    for i, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of every sheet, which is not drawn."""
    calls: list[Any] = []

    def instead(image: Any, titles: Any, rows: Any, point: Any, path: Path, headline: str) -> None:
        calls.append((image, titles, rows, point, headline))
        path.write_bytes(b"")

    monkeypatch.setattr(sheets, "draw_heat_maps", instead)
    return calls


def predict(*argv: str | Path) -> int:
    return main(["predict", *map(str, argv), "--device", "cpu", "--no-draw"])


def titles_of(rows: Any) -> list[list[str]]:
    return [[heat_map.titles[0] for heat_map in row] for row in rows]


def test_a_classifiers_sheet_has_its_likeliest_classes_and_a_block_of_each_stage(
    tmp_path: Path, drawn: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    weights, photos = checkpoint(tmp_path, "classify"), photographs(tmp_path / "photos", (100, 80))
    assert predict("--weights", weights, photos, "--out", tmp_path / "out", "--explain") == 0
    predictor = load_predictor(weights, "cpu")
    image = predictor.read(photos / "0.png")
    batch = predictor.transform(image)[None]
    ((shown, titles, rows, point, headline),) = drawn
    top = predictor(image).top
    assert titles_of(rows) == [
        [f"{name}, {100 * p:.1f} %" for name, p in top],
        ["GSA, blocks.0.1", "GSA, blocks.1.1", "LSA, blocks.2.0", "GSA, blocks.3.1"],
    ]
    for (name, _), heat_map in zip(top, rows[0], strict=True):
        expected = twins.grad_cam(predictor.model, batch, CLASSES.index(name))
        heat = heat_map.heat / heat_map.heat.max().clamp(min=1e-30)
        torch.testing.assert_close(heat[None], expected)
    row, column = divmod(int(rows[0][0].heat.argmax()), 64)
    assert point == (row, column)
    attention = twins.attention_maps(predictor.model, batch).block(1)
    torch.testing.assert_close(rows[1][1].heat, attention.of_token(row // 8, column // 8)[0].mean(0))
    assert rows[1][1].cell == (8, 8)
    assert torch.equal(shown, predictor.info.preprocessing.denormalise(batch[0]))  # type: ignore[union-attr]
    assert titles == ("the network's input", "64 x 64 pixels")
    assert headline == f"0.png: {predictor(image)}"
    assert (tmp_path / "out" / "explain" / "0.png").is_file()
    said = capsys.readouterr().out
    assert f"1 explanation in {tmp_path / 'out' / 'explain'}; Grad-CAM saw 2 x 2 cells" in said


def test_attention_from_a_pixel_of_the_image_as_it_came(tmp_path: Path, drawn: list[Any]) -> None:
    """Of 100 x 80 pixels the middle 64 x 64 of 91 x 73 are seen: 13 are cut at the left, 4 at the top."""
    weights, photos = checkpoint(tmp_path, "classify"), photographs(tmp_path / "photos", (100, 80))
    flags = ("--explain", "attention", "--explain-at", "50,30")
    assert predict("--weights", weights, photos, "--out", tmp_path / "out", *flags) == 0
    ((_, _, rows, point, _),) = drawn
    assert point == (int(30.5 * 73 / 80) - 4, int(50.5 * 91 / 100) - 14)
    assert titles_of(rows) == [
        ["attention rollout", "attention rollout"],
        ["GSA, blocks.0.1", "GSA, blocks.1.1", "LSA, blocks.2.0", "GSA, blocks.3.1"],
    ]


def test_a_segmenters_sheet_outlines_its_largest_regions(tmp_path: Path, drawn: list[Any]) -> None:
    weights, photos = checkpoint(tmp_path, "segment"), photographs(tmp_path / "photos", (100, 80))
    flags = ("--explain", "layercam", "--explain-stage", "1")
    assert predict("--weights", weights, photos, "--out", tmp_path / "out", *flags) == 0
    ((shown, _, rows, _, _),) = drawn
    predictor = load_predictor(weights, "cpu")
    batch = predictor.transform(photos / "0.png")[None]
    assert shown.shape == (3, 64, 80)
    predicted = predictor.model(batch)[0].argmax(0)
    counts = predicted.flatten().bincount(minlength=3)
    labels = [k for k in counts.argsort(descending=True).tolist() if counts[k]]
    assert titles_of(rows)[0] == [f"{CLASSES[k]}, {100 * float((predicted == k).float().mean()):.1f} %" for k in labels]
    for k, heat_map in zip(labels, rows[0], strict=True):
        assert torch.equal(heat_map.region, predicted == k)
        expected = twins.grad_cam(predictor.model, batch, k, "layercam", 1)
        torch.testing.assert_close(heat_map.heat[None] / heat_map.heat.max().clamp(min=1e-30), expected)


def test_a_segmenters_class_at_a_pixel(tmp_path: Path, drawn: list[Any]) -> None:
    weights, photos = checkpoint(tmp_path, "segment"), photographs(tmp_path / "photos", (100, 80))
    flags = ("--explain", "--explain-at", "25,50", "--explain-class", "cat")
    assert predict("--weights", weights, photos, "--out", tmp_path / "out", *flags) == 0
    ((_, _, rows, point, _),) = drawn
    assert point == (40, 20)
    assert titles_of(rows)[0] == ["cat at the cross"]
    predictor = load_predictor(weights, "cpu")
    expected = twins.grad_cam(predictor.model, predictor.transform(photos / "0.png")[None], 2, at=(40, 20))
    torch.testing.assert_close(rows[0][0].heat[None] / rows[0][0].heat.max().clamp(min=1e-30), expected)


def test_a_detectors_sheet_has_its_best_detections_in_pixels_of_the_image(tmp_path: Path, drawn: list[Any]) -> None:
    weights, photos = checkpoint(tmp_path, "detect"), photographs(tmp_path / "photos", (50, 40))
    assert predict("--weights", weights, photos, "--out", tmp_path / "out", "--explain", "--conf", "0") == 0
    ((shown, titles, rows, _, _),) = drawn
    assert shown.shape == (3, 40, 50)
    assert titles[1] == "80 x 64 pixels"
    found = load_predictor(weights, "cpu", conf=0.0)(photos / "0.png")
    best = zip(found.names[:3], found.scores[:3].tolist(), strict=True)
    assert titles_of(rows)[0] == [f"{name}, score {score:.2f}" for name, score in best]
    assert [heat_map.heat.shape for heat_map in rows[0]] == [(40, 50)] * 3
    assert torch.equal(torch.stack([heat_map.box for heat_map in rows[0]]), found.boxes[:3])
    assert rows[1][3].cell == (32 * 40 / 64, 32 * 50 / 80)
    assert rows[1][3].heat.shape == (2, 3)


def test_images_without_the_class_are_told_at_the_end(
    tmp_path: Path, drawn: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    weights, photos = checkpoint(tmp_path, "detect"), photographs(tmp_path / "photos", (50, 40), (60, 60))
    flags = ("--explain", "--explain-class", "cat", "--conf", "1")
    assert predict("--weights", weights, photos, "--out", tmp_path / "out", *flags) == 0
    assert drawn == []
    assert "0 explanations in " in (said := capsys.readouterr().out)
    assert "; none of 2 images: 0.png (no cat predicted); 1.png (no cat predicted)\n" in said


def test_a_pixel_outside_the_crop_is_told(tmp_path: Path, drawn: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    weights, photos = checkpoint(tmp_path, "classify"), photographs(tmp_path / "photos", (100, 80))
    flags = ("--explain", "--explain-at", "0,0")
    assert predict("--weights", weights, photos, "--out", tmp_path / "out", *flags) == 0
    assert drawn == []
    assert "0.png (the pixel is outside of the crop that the network sees)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--explain", "gradcm"],
         "argument --explain: there is gradcam, layercam, attention, not 'gradcm' (did you mean gradcam?)"),
        (["--explain", "--explain-class", "bea"], "--explain-class 'bea' is none of the 3 classes of "),
        (["--explain", "--explain-class", "bea"], "(did you mean bee"),
        (["--explain", "attention", "--explain-class", "bee"],
         "--explain-class is for gradcam and layercam: attention is of no class"),
        (["--explain", "--explain-at", "100,3"], "0.png, 100 x 80: X must be in 0..99, Y in 0..79"),
        (["--explain", "--explain-at", "3;4"], "two whole numbers are needed, X,Y as in 120,45, not '3;4'"),
        (["--explain", "--explain-stage", "4"], "--explain-stage must lie in 0..3, or be -1 for the last, not 4"),
        (["--explain-at", "3,4"], "--explain-at says what to explain: give --explain with it"),
        (["--explain", "--dtype", "int8"],
         "--explain looks into the network, which the engine of --dtype int8 hides: leave out one"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_takes_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    weights, photos = checkpoint(tmp_path, "classify"), photographs(tmp_path / "photos", (100, 80))
    out = tmp_path / "out"
    argv = ("predict", "--weights", str(weights), str(photos), "--out", str(out), "--device", "cpu", *flags)
    assert message in refusal(capsys, *argv)
    assert not out.exists()


def test_the_command_line_knows_every_kind_before_it_loads_anything() -> None:
    assert set(EXPLANATIONS) == set(KINDS)


def test_the_engine_hides_what_it_computes(tmp_path: Path) -> None:
    weights, photos = checkpoint(tmp_path, "segment"), photographs(tmp_path / "photos", (100, 80))
    predictor = load_predictor(weights, dtype="fp32")
    with pytest.raises(twins.TwinsError, match="only a Twins network that PyTorch computes can be explained, not a "):
        SheetWriter(predictor, find_images([photos]), tmp_path, Question())


@pytest.mark.parametrize("size", [(100, 80), (33, 200), (64, 64), (20, 30)])
def test_pixels_are_where_the_transform_moves_them(tmp_path: Path, size: tuple[int, int]) -> None:
    """A white rectangle in the image stays around the pixel where its middle went."""
    predictor = load_predictor(checkpoint(tmp_path, "classify"), "cpu")
    width, height = size
    pixels = np.zeros((height, width), dtype=np.uint8)
    aside = min(size) // 10
    row, column = height // 2 + aside, width // 2 - aside
    pixels[row - 2 : row + 3, column - 2 : column + 3] = 255
    view = view_of(predictor, predictor.read(Image.fromarray(pixels).convert("RGB")))
    point = view.pixel_at(row, column, (height, width))
    assert point is not None
    brightness = view.shown.mean(0)
    middle = (brightness > 0.5).nonzero().float().mean(0)
    assert (middle - torch.tensor(point)).abs().max() <= 1


def test_the_largest_value_of_each_map_has_the_last_colour(tmp_path: Path) -> None:
    """Drawn in the four quarters of a grey image; cells are where they belong."""
    heat = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    rows = [[HeatMap(("a map", "of four cells"), heat, (8, 8))]]
    draw_heat_maps(torch.full((1, 16, 16), 0.5), ("an image",), rows, (4, 4), tmp_path / "a.png", "a headline")
    with Image.open(tmp_path / "a.png") as sheet:
        drawn = np.asarray(sheet.convert("RGB")).astype(float)
    colours = heat_maps.need("matplotlib", extra="train").colormaps["plasma"]
    for value in (0.0, 0.25, 0.5, 1.0):
        over_grey = 0.6 * np.array(colours(value)[:3]) + 0.4 * 0.65
        alike = np.abs(drawn - 255 * over_grey).max(axis=2) < 3
        assert alike.sum() > 10_000


def test_a_map_of_zeros_and_unusual_shapes_are_drawn(tmp_path: Path) -> None:
    zero = HeatMap(("nothing",), torch.zeros(1, 1), (5, 300), box=torch.tensor([0.0, 0.0, 9.0, 3.0]))
    region = HeatMap(("a region",), torch.rand(5, 300), region=torch.rand(5, 300) > 0.5)
    draw_heat_maps(
        torch.rand(3, 5, 300), ("flat",), [[zero, region], [zero]], (0, 299), tmp_path / "a.png", "long " * 90
    )
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size == (1395, int(150 * (2 * (0.2 * 2.1 + 0.4) + 0.45)))
