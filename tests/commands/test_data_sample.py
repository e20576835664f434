"""`twins data sample`: folders that are read back as anybody's data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command_line import refusal
from twins.cli import main
from twins.data.digits import read_digits


@pytest.mark.parametrize(
    ("task", "folders"),
    [
        ("classify", ["train", "val"]),
        ("segment", ["annotations", "images"]),
        ("detect", ["annotations", "train", "val"]),
    ],
)
def test_a_sample_is_data_to_train_on(
    task: str, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sample"
    assert main(["data", "sample", "--task", task, "--images", "60", "--out", str(out)]) == 0
    assert f"{out}: 60 images for training and 12 for validation, " in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == folders
    assert len(list(out.rglob("*.png"))) == (60 + 12) * (2 if task == "segment" else 1)
    assert main(["data", "check", "--task", task, "--data", str(out)]) == 0


def test_scans_are_enlarged_and_lie_with_their_label(tmp_path: Path) -> None:
    assert main(["data", "sample", "--images", "5", "--out", str(tmp_path / "scans")]) == 0
    train, val = read_digits()
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert found == {f"scans/train/{train.labels[i]}/{i:04d}.png" for i in range(5)} | {
        f"scans/val/{val.labels[0]}/0000.png"
    }
    written = Image.open(tmp_path / f"scans/train/{train.labels[3]}/0003.png")
    assert (written.size, written.mode) == ((64, 64), "L")
    smaller = np.asarray(written.resize((8, 8), Image.Resampling.BOX), dtype=float)
    assert np.corrcoef(smaller.ravel(), np.asarray(train.images[3]).ravel())[0, 1] > 0.95


def test_what_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    message = refusal(capsys, "data", "sample", "--out", str(tmp_path / "mine"))
    assert message == f"twins: {tmp_path / 'mine'}: is there already; --out names a folder to make"
    new = str(tmp_path / "new")
    assert "--images must be between 1 and 1000, not 1001" in refusal(
        capsys, "data", "sample", "--out", new, "--images", "1001"
    )
    assert "'0' is no number of images" in refusal(capsys, "data", "sample", "--out", new, "--images", "0")
    assert "required: --out" in refusal(capsys, "data", "sample")
    assert "unknown argument --data" in refusal(capsys, "data", "sample", "--out", new, "--data", "x")
    assert not Path(new).exists()
