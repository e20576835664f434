"""`twins data check` of labelled images: the same words as for boxes and masks, and copies in both parts."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twins.cli import main
from twins.data.check_results import DatasetStatistics
from twins.data.duplicates import same_in_both
from twins.recipes import ClassifyRecipe
from twins.tasks import make_task


def write(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of four training images and two validation images."""
    root = tmp_path / "data"
    for label, name in enumerate("ab"):
        for i in range(4):
            write(root / "train" / name / f"{i}.png", 10 * label + i, (40, 30 + i))
        for i in range(2):
            write(root / "val" / name / f"{i}.png", 100 + 10 * label + i)
    return root


def statistics_of(root: Path, **changes: object) -> DatasetStatistics:
    return make_task(ClassifyRecipe(data=str(root), workers=0).replace(**changes)).dataset_statistics()


def test_images_classes_and_sizes_are_counted(data: Path) -> None:
    found = statistics_of(data)
    assert found.parts == ("training: 8 images, 30 x 40 to 33 x 40", "validation: 4 images, 30 x 40")
    assert found.columns == ("class", "training: images", "validation: images")
    assert found.rows == (("a", "4", "2"), ("b", "4", "2"))
    assert (found.errors, found.warnings) == ((), ())


def test_unreadable_images_are_errors_or_left_out(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1", "2"):
        (data / "train" / "a" / f"{name}.png").write_bytes(b"no image")
    (error,) = statistics_of(data).errors
    assert error.startswith(f"training: unreadable: {data}/train/a/1.png: cannot identify image file")
    assert error.endswith("damaged, or of no format that is read; fix these files, or pass --bad-images skip")
    skipped = statistics_of(data, bad_images="skip")
    assert skipped.errors == ()
    assert skipped.rows[0] == ("a", "2", "2")
    assert skipped.warnings[0].startswith(f"training: unreadable, left out: {data}/train/a/1.png")
    assert main(["data", "check", "--data", str(data), "--workers", "0"]) == 2
    assert "nothing here keeps" not in capsys.readouterr().out


def test_what_is_left_out_and_unusual_pixels_are_told(data: Path) -> None:
    Image.fromarray(np.full((30, 40), 60000, dtype=np.uint16)).save(data / "train" / "a" / "deep.png")
    (data / "train" / "b" / "note.txt").touch()
    (data / "train" / "b" / "layers.psd").touch()
    shutil.copy(data / "train" / "a" / "0.png", data / "train" / "loose.png")
    left_out, loose, deep = statistics_of(data).warnings
    assert left_out == f"training: left out of {data}/train, not read as images: 1 .psd"
    assert loose == f"training: left out of {data}/train, in no class folder: loose.png"
    assert deep == (
        "training: 1 grey images of more than 8 bits (I;16), of which 0 to 65535 is read as black to white: "
        f"{data}/train/a/deep.png"
    )


def test_hidden_folders_are_no_classes_and_hold_no_images(data: Path) -> None:
    for clutter in ("__MACOSX/a", "a/.ipynb_checkpoints", "b/@eaDir"):
        write(data / "train" / clutter / "0.png", 0)
    assert statistics_of(data).rows == (("a", "4", "2"), ("b", "4", "2"))


def test_copies_in_both_parts_are_told(data: Path) -> None:
    shutil.copy(data / "train" / "a" / "3.png", data / "val" / "b" / "copy.png")
    (warning,) = statistics_of(data).warnings
    assert warning == (
        "validation: images that are in training as well, byte for byte: 1, "
        f"{data}/val/b/copy.png = {data}/train/a/3.png"
    )


def test_files_of_one_size_and_start_are_compared_to_the_end(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abcd"]
    for path, last in zip(paths, b"xyxz", strict=True):
        path.write_bytes(bytes(10_000) + bytes([last]))
    found = same_in_both([paths[0], paths[3], tmp_path / "gone"], [paths[1], paths[2], tmp_path / "gone too"])
    assert (found.count, found.names) == (1, (f"{paths[2]} = {paths[0]}",))


def test_folders_without_images_say_what_they_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "1.heic").touch()
    assert main(["data", "check", "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "phone: class folder without images (JPEG, PNG" in error
    assert "not read as images: 1 .heic (pip install pillow-heif" in error


def test_class_folders_may_be_composed_otherwise_in_the_other_part(data: Path) -> None:
    for part, form in (("train", "NFC"), ("val", "NFD")):
        (data / part / "b").rename(data / part / unicodedata.normalize(form, "é"))
    assert statistics_of(data).rows == (("a", "4", "2"), (unicodedata.normalize("NFC", "é"), "4", "2"))


def test_images_of_12_bits_are_told_from_black_ones(data: Path) -> None:
    grey = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 3
    Image.fromarray(grey).save(data / "val" / "a" / "deep.png")
    as_16_bits, nearly_black = statistics_of(data).warnings
    assert "of which 0 to 65535 is read" in as_16_bits
    assert nearly_black == (
        "validation: 1 images of more than 8 bits that are nearly black so: with 12 bits in use pass --bit-depth 12: "
        f"{data}/val/a/deep.png"
    )
    (as_12_bits,) = statistics_of(data, bit_depth=12).warnings
    assert "of which 0 to 4095 is read" in as_12_bits


def test_files_of_several_frames_are_told(data: Path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    for name in ("a.gif", "a.tif"):
        frames[0].save(data / "train" / "a" / name, save_all=True, append_images=frames[1:])
    (warning,) = statistics_of(data).warnings
    assert warning.startswith("training: 2 images of several frames or pages, of which the first is read: ")


def test_names_that_are_not_utf_8(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "val"):
        (data / part / "a").rename(os.fsdecode(os.fsencode(data / part) + b"/caf\xe9\x1b[2J"))
    assert main(["data", "check", "--data", str(data), "--workers", "0"]) == 0
    assert r"caf\xe9\x1b[2J" in capfd.readouterr().out
