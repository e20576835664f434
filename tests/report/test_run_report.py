"""The page of a run: what stands in it, how large it is, and that nothing in it does anything."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from helpers.run_folders import write_csv, write_json, write_mistakes, write_noise, write_run
from twins.errors import TwinsError
from twins.report.class_tables import MOST_ROWS, class_table
from twins.report.confusions import MATRIX_CLASSES, Confused, read_confusions
from twins.report.run_files import read_run
from twins.report.run_report import write_report

HOSTILE = ("<script>alert(1)</script>", "a\u202egnp.exe", "\"><img src=x onerror=alert(1)>", "\u718a\u732b", "x" * 3000,
           "line\nbreak", "nul\0", "caf\udce9")  # fmt: skip


def text_of(folder: Path, interrupted: bool = False) -> str:
    return write_report(folder, interrupted).read_text(encoding="utf-8")


def test_what_a_report_says(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "a", classes={"ant": 50.0, "bee": 25.5}, notes=["training: 3 images left out"], epochs=3
    )
    write_csv(folder / "confusion.csv", ["truth", "predicted", "images"], [["ant", "ant", 18], ["ant", "bee", 18]])
    write_mistakes(folder, ["bee (93 %), not ant"], file="ants/7.png")
    write_noise(folder / "train_batch.png", 64, 48)
    text = text_of(folder)
    for part in ("finished, 3 of 3 epochs", "classify \u00b7 twins_svt_small \u00b7 2.9 M parameters \u00b7 2 classes",
                 "<dt>Acc@1</dt><dd>70.00</dd>", "best, epoch 1", "<dd>1 min 23 s</dd>", "training: 3 images left out",
                 "bee (93 %), not ant", "ants/7.png", "<code>--epochs</code></th><td>3</td><td>40</td>", "1,437",
                 "900 MB", "twins train", "cells count images",
                 '<td style="--share: 0.500" class="wrong">18</td>'):  # fmt: skip
        assert part in text
    assert text.index(">bee</th>") < text.index(">ant</th>")  # the worst class first
    assert text.count('<img src="data:image/png;base64,') == 2


def test_status(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", finished=False, epochs=5)
    assert "going on, 3 of 5 epochs done" in text_of(folder)
    assert "interrupted after 3 of 5 epochs" in text_of(folder, interrupted=True)


def test_before_the_first_epoch_is_done(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [], finished=False)
    rows = [[0, 50, 2.5, 1e-3, 300.0], [0, 100, 2.0, 1e-3, 300.0]]
    write_csv(folder / "steps.csv", ["epoch", "step", "train_loss", "train_lr", "images_per_second"], rows)
    text = text_of(folder, interrupted=True)
    assert "interrupted after 0 of 40 epochs" in text
    assert 'Training loss <span class="soft">by update</span>' in text


def test_an_evaluation(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a-eval", [], finished=False)
    write_json(folder / "metrics.json", {"acc1": 98.765, "loss": 0.1, "images": 1360.0})
    text = text_of(folder)
    assert ">evaluation<" in text
    assert "<dt>Acc@1</dt><dd>98.77</dd>" in text
    assert "<dd>1,360</dd>" in text


def test_a_detector_has_its_thresholds(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", task="detect")
    rows = [
        ["0.05", "0.1", "0.9", "0.18"],
        ["0.50", "0.8", "0.8", "0.8"],
        ["0.60", "0.8", "0.8", "0.8"],
        ["0.90", "1.0", "0.1", "0.18"],
    ]
    write_csv(folder / "thresholds.csv", ["threshold", "precision", "recall", "F1"], rows)
    assert "dotted: best F1 0.80, at --conf 0.60" in text_of(folder)


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_runs_of_earlier_versions(tmp_path: Path, task: str) -> None:
    old = Path(__file__).parents[1] / "old_runs" / task
    shutil.copytree(old, tmp_path / task, ignore=shutil.ignore_patterns("*.pth"))
    text = text_of(tmp_path / task)
    assert f">{task} \u00b7 " in text
    assert "<h2>Curves</h2>" in text


def test_damaged_captions_are_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    write_json(folder / "mistakes" / "captions.json", [{"image": "01.png"}])
    with pytest.raises(TwinsError, match=r"captions.json: expected a list of images with captions"):
        write_report(folder)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", classes=dict.fromkeys(HOSTILE, 50.0), notes=HOSTILE[:6], data=HOSTILE[0])
    pairs = [[name, HOSTILE[0], 3] for name in HOSTILE]
    write_csv(folder / "confusion.csv", ["truth", "predicted", "images"], pairs)
    write_mistakes(folder, HOSTILE, file=HOSTILE[1])
    text = text_of(folder)
    assert text.count("<script") == 1  # its own
    assert "<img src=x" not in text
    assert not re.search("[\u202e\0\udce9]", text)
    assert r"a\u202egnp.exe" in text
    assert "\u718a\u732b" in text
    assert r"caf\xe9" in text
    assert set(re.findall(r'(?:src|href)="([a-z]*:?)', text)) == {"data:"}
    assert "http" not in text.replace("http-equiv", "")


def test_the_largest_report_stays_below_3_mb(tmp_path: Path) -> None:
    classes = {f"{'class' * 6} number {i}": i / 50 for i in range(5000)}
    folder = write_run(tmp_path / "a", [50.0] * 300, classes=classes)
    for name in ("train_batch.png", "predictions.png", "detections.png"):
        write_noise(folder / name, 1600, 900)
    (folder / "recipe.json").write_text((folder / "recipe.json").read_text().replace('"classify"', '"detect"', 1))
    write_mistakes(folder, ["3 missed"] * 30, size=400)
    rows = [[a, b, 1] for a in list(classes)[:100] for b in list(classes)[:100]]
    write_csv(folder / "confusion.csv", ["truth", "predicted", "images"], rows)
    assert 1_000_000 < write_report(folder).stat().st_size < 3_000_000


def test_of_many_classes_the_worst_are_shown(tmp_path: Path) -> None:
    names = {f"c{i}": float(100 - i % 100) for i in range(MOST_ROWS + 5)}
    table = class_table(read_run(write_run(tmp_path / "a", classes=names)))
    assert table is not None
    assert (len(table.rows), table.hidden) == (MOST_ROWS, 5)
    values = [cells[1].number for _, cells in table.rows]
    assert values == sorted(names.values())[:MOST_ROWS]


def test_of_many_classes_the_commonest_confusions_are_shown(tmp_path: Path) -> None:
    classes = tuple(f"c{i}" for i in range(MATRIX_CLASSES + 1))
    rows = [[name, name, 10] for name in classes] + [["c1", "c2", 3], ["c2", "c3", 5]]
    write_csv(tmp_path / "confusion.csv", ["truth", "predicted", "images"], rows)
    found = read_confusions(tmp_path / "confusion.csv", classes)
    assert found is not None
    assert found.matrix == ()
    assert found.commonest == (Confused("c2", "c3", 5, 5 / 15), Confused("c1", "c2", 3, 3 / 13))


def test_large_counts_are_shares(tmp_path: Path) -> None:
    write_csv(tmp_path / "c.csv", ["truth", "predicted", "pixels"], [["a", "a", 30000], ["a", "b", 10000]])
    found = read_confusions(tmp_path / "c.csv", ("a", "b", "c"))
    assert found is not None
    assert [[cell.text for cell in row] for row in found.matrix] == [["75.0", "25.0", ""], ["", "", ""], ["", "", ""]]


def test_a_damaged_folder_is_refused_and_the_old_report_kept(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    before = text_of(folder)
    (folder / "log.txt").write_text("{")
    with pytest.raises(TwinsError, match="not JSON"):
        write_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == before
