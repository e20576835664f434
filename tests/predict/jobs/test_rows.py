"""The rows of a job are what the predictor says of the same images, from whichever source, in either format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from faster_coco_eval.core import mask as coco_masks
from PIL import Image

import twins
from helpers.command_line import refusal
from predict.jobs.conftest import COUNT
from twins.checkpoints.info import read_info
from twins.cli import main
from twins.predict import load_predictor
from twins.predict.loading import load_embedder

ROWS = 4  # a shard: the last one has three


def predict(*argv: str | Path) -> int:
    return main(["predict", *map(str, argv), "--device", "cpu"])


def rows_in(out: Path) -> list[dict[str, Any]]:
    """The rows of all shards, by their numbers."""
    return [row for part in sorted((out / "rows").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]


def csv_rows(out: Path) -> list[dict[str, str]]:
    texts = [part.read_text() for part in sorted((out / "rows").glob("*.csv"))]
    return [row for text in texts for row in csv.DictReader(io.StringIO(text))]


@pytest.mark.parametrize("kind", ["folder", "list", "tar", "folder of tar", "parquet", "files"])
def test_rows_of_any_source_are_the_predictors(
    weights: dict[str, Path], sources: dict[str, str], files: list[Path], tmp_path: Path, kind: str
) -> None:
    given = sources[kind].split()
    argv = ("--format", "parquet", "--rows-per-shard", ROWS, "--topk", 2, "--out", tmp_path / "out")
    assert predict(*given, "--weights", weights["classify"], *argv) == 0
    names = {"folder": [f"{f.parent.name}/{f.name}" for f in files], "files": [f.name for f in files]}
    names["list"] = [f"images/{name}" for name in names["folder"][:-1]] + [str(files[-1])]
    names["tar"] = [f"s-{int(i >= 4)}.tar/{f.name}" for i, f in enumerate(files)]
    names |= {"folder of tar": names["tar"], "parquet": names["files"]}
    rows = rows_in(tmp_path / "out")
    expected = load_predictor(weights["classify"], "cpu", topk=2)(files)
    if kind == "files":  # are sorted by their names
        order = sorted(range(COUNT), key=lambda i: files[i].name)
        names[kind], expected = [names[kind][i] for i in order], [expected[i] for i in order]
    assert [row["file"] for row in rows] == names[kind]
    for row, prediction in zip(rows, expected, strict=True):
        classes, probabilities = zip(*prediction.top, strict=True)
        assert row["class"] == classes[0]
        assert prediction.classes[row["label"]] == classes[0]
        assert row["probability"] == pytest.approx(probabilities[0], abs=1e-6)
        assert row["top_classes"] == list(classes)
        assert row["top_probabilities"] == pytest.approx(probabilities, abs=1e-6)
        assert row["error"] is None
    assert sorted(part.name for part in (tmp_path / "out" / "rows").iterdir()) == [
        f"part-0000{i}.parquet" for i in range(3)
    ]
    assert pq.read_table(tmp_path / "out" / "rows").num_rows == COUNT


def test_masks_are_the_predictors(
    weights: dict[str, Path], sources: dict[str, str], files: list[Path], tmp_path: Path
) -> None:
    common = (sources["folder"], "--weights", weights["upernet"], "--rows-per-shard", ROWS)
    assert predict(*common, "--format", "parquet", "--out", tmp_path / "a") == 0
    assert predict(*common, "--format", "csv", "--out", tmp_path / "b") == 0
    predictor = load_predictor(weights["upernet"], "cpu")
    for row, texts, prediction in zip(rows_in(tmp_path / "a"), csv_rows(tmp_path / "b"), predictor(files), strict=True):
        mask = np.asarray(Image.open(io.BytesIO(row["mask"])))
        assert mask.tolist() == prediction.mask.tolist()
        assert (row["height"], row["width"]) == mask.shape
        assert np.asarray(Image.open(tmp_path / "b" / texts["mask"])).tolist() == mask.tolist()
        shares = {name: count / mask.size for name, count in prediction.pixels.items()}
        assert dict(zip(row["classes"], row["shares"], strict=True)) == pytest.approx(shares)
        assert json.loads(texts["shares"]) == pytest.approx(row["shares"], abs=1e-5)
        assert row["shares"] == sorted(row["shares"], reverse=True)


@pytest.mark.parametrize("kind", ["mask_rcnn", "retinanet"])
def test_detections_are_the_predictors(
    weights: dict[str, Path], sources: dict[str, str], files: list[Path], tmp_path: Path, kind: str
) -> None:
    common = (sources["folder"], "--weights", weights[kind], "--conf", "0.01", "--max-det", 6)
    assert predict(*common, "--format", "parquet", "--out", tmp_path / "a") == 0
    assert predict(*common, "--format", "csv", "--out", tmp_path / "b") == 0
    predictor = load_predictor(weights[kind], "cpu", conf=0.01, max_det=6)
    found = 0
    for row, texts, prediction in zip(rows_in(tmp_path / "a"), csv_rows(tmp_path / "b"), predictor(files), strict=True):
        assert row["boxes"] == prediction.boxes.tolist()
        assert row["scores"] == prediction.scores.tolist()
        assert row["labels"] == prediction.labels.tolist() == json.loads(texts["labels"])
        assert row["names"] == prediction.names == json.loads(texts["names"])
        assert json.loads(texts["boxes"]) == [[round(side, 3) for side in box] for box in prediction.boxes.tolist()]
        if kind == "mask_rcnn":
            assert row["masks"] == json.loads(texts["masks"])
            for rle, mask in zip(row["masks"], prediction.masks, strict=True):
                assert coco_masks.decode({**rle, "counts": rle["counts"].encode()}).tolist() == mask.int().tolist()
        else:
            assert "masks" not in row
        found += len(prediction)
    assert found > COUNT


@pytest.mark.parametrize("dtype", [None, "fp32"])
@pytest.mark.parametrize("kind", ["classify", "upernet", "retinanet"])
def test_embeddings_are_the_pooled_features_under_the_heads(
    weights: dict[str, Path], sources: dict[str, str], files: list[Path], tmp_path: Path, kind: str, dtype: str | None
) -> None:
    argv = ("--weights", weights[kind], "--embed", "--format", "parquet", "--out", tmp_path, "--rows-per-shard", ROWS)
    assert predict(sources["tar"], *argv, *(["--dtype", dtype] if dtype else [])) == 0
    network = load_predictor(weights[kind], "cpu").model
    embedder = load_embedder(weights[kind], "cpu")
    table = pq.read_table(tmp_path / "rows")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 32)
    for row, file in zip(table.to_pylist(), files, strict=True):
        view = embedder.transform(file)[None]
        with torch.no_grad():
            if kind == "classify":
                expected = network.forward_head(network.forward_features(view), pre_logits=True)[0]
            else:
                expected = network.backbone(view)[-1].mean(dim=(2, 3))[0]
        torch.testing.assert_close(torch.tensor(row["embedding"]), expected, atol=1e-4, rtol=1e-4)


def test_features_of_a_detector_are_of_what_its_network_sees(weights: dict[str, Path], files: list[Path]) -> None:
    view = load_embedder(weights["retinanet"], "cpu").transform(files[0])
    predictor = load_predictor(weights["retinanet"], "cpu")
    batch = predictor.model.transform([predictor.transform(files[0])])
    height, width = batch.image_sizes[0]
    assert view.shape[1:] == (height, width)
    assert view.equal(batch.tensors[0, :, :height, :width])


def test_half_precision_vectors(weights: dict[str, Path], files: list[Path], tmp_path: Path) -> None:
    argv = ("--weights", weights["classify"], "--embed", "--embed-dtype", "float16", "--format", "parquet")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert predict(files[0], tmp_path / "broken.png", *argv, "--bad-images", "skip", "--out", tmp_path / "out") == 0
    first, broken = pq.read_table(tmp_path / "out" / "rows").to_pylist()
    exact = load_embedder(weights["classify"], "cpu")(files[0]).features
    assert first["embedding"] == exact.half().tolist()
    assert broken["embedding"] is None
    assert "cannot identify image file" in broken["error"]


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_unreadable_images_are_rows_that_say_why(
    weights: dict[str, Path], files: list[Path], tmp_path: Path, file_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text(f"{files[0]}\nmissing.png\n{files[1]}\n")
    argv = (tmp_path / "list.txt", "--weights", weights["classify"], "--format", file_format, "--out", tmp_path / "out")
    line = refusal(capsys, "predict", *map(str, argv))
    assert "missing.png: [Errno 2] No such file" in line
    assert "pass --bad-images skip" in line
    assert list((tmp_path / "out").rglob("*part*")) == []
    assert predict(*argv, "--bad-images", "skip") == 0
    assert "1 unreadable image: see the column error" in capsys.readouterr().out
    rows: list[dict[str, Any]] = (rows_in if file_format == "parquet" else csv_rows)(tmp_path / "out")  # type: ignore[assignment]
    assert [row["file"] for row in rows] == [str(files[0]), "missing.png", str(files[1])]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert rows[1]["class"] in (None, "")
    expected = [prediction.top[0][0] for prediction in load_predictor(weights["classify"], "cpu")(files[:2])]
    assert [rows[0]["class"], rows[2]["class"]] == expected


def test_names_that_are_not_utf_8(weights: dict[str, Path], files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    name = b"caf\xe9.png"
    Path(folder, "a.png").write_bytes(files[0].read_bytes())
    (folder / "a.png").rename(folder / name.decode("utf-8", "surrogateescape"))
    argv = (folder, "--weights", weights["classify"])
    assert predict(*argv, "--format", "parquet", "--out", tmp_path / "a") == 0
    assert predict(*argv, "--format", "csv", "--out", tmp_path / "b") == 0
    assert rows_in(tmp_path / "a")[0]["file"] == r"caf\xe9.png"
    assert name in (tmp_path / "b" / "rows" / "part-00000.csv").read_bytes()


def test_the_plain_predictor_and_its_embedder_share_the_weights(weights: dict[str, Path]) -> None:
    info = read_info(weights["classify"])
    embedder = load_embedder(info, "cpu")
    assert embedder.width == 32
    assert embedder.remarks[-1] == "features: 32, what its head takes"
    with pytest.raises(twins.TwinsError, match="--topk is for what the heads predict"):
        load_embedder(info, "cpu", topk=3)
