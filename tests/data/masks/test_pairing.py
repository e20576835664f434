"""Which mask goes with which image: endings, one folder for both, composed names, and what is refused or left out."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.image_files import write_image
from twins.data.masks.dataset import MaskedImages
from twins.data.masks.layouts import read_mask_folders
from twins.errors import TwinsError
from twins.recipes import SegmentRecipe


def write_mask(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8)).save(path)
    return path


def read(root: Path, **fields: object) -> MaskedImages:
    train, _ = read_mask_folders(SegmentRecipe(data=str(root), **fields))  # type: ignore[arg-type]
    assert train is not None
    return train


def names(images: MaskedImages) -> list[tuple[str, str]]:
    return [(image.name, mask.name) for image, mask in zip(images.images, images.masks, strict=True)]


ENDINGS = {
    "mask": ("{}.jpg", "{}_mask.png"),
    "in capitals": ("{}.JPG", "{}_Mask.PNG"),
    "Carvana": ("{}.jpg", "{}_mask.gif"),
    "DeepGlobe": ("{}_sat.jpg", "{}_mask.png"),
    "CamVid": ("{}.png", "{}_L.png"),
    "Cityscapes": ("{}_leftImg8bit.png", "{}_gtFine_labelIds.png"),
    "label": ("{}.tif", "{}_label.tif"),
    "seg": ("{}.png", "{}-mask.png"),
}


@pytest.mark.parametrize("together", [False, True], ids=["two folders", "side by side"])
@pytest.mark.parametrize("case", ENDINGS)
def test_usual_endings(tmp_path: Path, case: str, together: bool) -> None:
    if together and case in ("DeepGlobe", "Cityscapes"):
        pytest.skip("their images and masks lie in two folders")
    image, mask = ENDINGS[case]
    for name in ("a", "b"):
        write_image(tmp_path / ("train" if together else "images") / image.format(name), 2, 2)
        write_mask(tmp_path / ("train" if together else "masks") / mask.format(name))
    found = read(tmp_path)
    assert names(found) == [(image.format(name), mask.format(name)) for name in "ab"]
    assert found.warnings == ()
    assert mask[2:].lower() in found.notes[0].lower()


def test_roboflow_has_both_in_one_folder(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        for i in range(2):
            write_image(tmp_path / part / f"{i}_jpg.rf.0a1b.jpg", 2, 2)
            write_mask(tmp_path / part / f"{i}_jpg.rf.0a1b_mask.png")
        (tmp_path / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, crack\n")
    write_image(tmp_path / "train/lonely.jpg")
    found = read(tmp_path)
    assert names(found) == [(f"{i}_jpg.rf.0a1b.jpg", f"{i}_jpg.rf.0a1b_mask.png") for i in range(2)]
    assert found.classes == ("background", "crack")
    assert found.warnings == (f"1 image without a mask in {tmp_path / 'train'}: lonely.jpg",)
    assert found.notes[0] == f"2 classes by {tmp_path / 'train/_classes.csv'}"
    (tmp_path / "valid/_classes.csv").write_text("Pixel Value, Class\n0, crack\n1, background\n")
    with pytest.raises(
        TwinsError, match=r"valid/_classes\.csv: other classes than in .*train/_classes\.csv; write all"
    ):
        read(tmp_path)


def test_photographs_beside_masks_of_their_names(tmp_path: Path) -> None:
    write_image(tmp_path / "train/a.jpg", 2, 2)
    write_mask(tmp_path / "train/a.png")
    assert names(read(tmp_path)) == [("a.jpg", "a.png")]


def test_masks_among_the_images_are_no_images(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png", 2, 2)
    for path in ("images/a_mask.png", "masks/a.png", "masks/a_mask.png"):
        write_mask(tmp_path / path)
    found = read(tmp_path)
    assert names(found) == [("a.png", "a.png")]
    assert found.warnings == (
        f"1 mask without an image in {tmp_path / 'masks'}: a_mask.png",
        f"masks among the images in {tmp_path / 'images'}, left out: a_mask.png",
    )


def test_plain_names_come_first(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", 2, 2)
    for name in ("a.png", "a_label.png", "a.tif"):
        write_mask(tmp_path / "masks" / name)
    found = read(tmp_path)
    assert (names(found), found.notes) == ([("a.jpg", "a.png")], ())
    assert names(read(tmp_path, mask_suffix="_LABEL.png")) == [("a.jpg", "a_label.png")]


def test_several_endings_are_not_chosen_from(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", 2, 2)
    for name in ("a_mask.png", "a_label.png"):
        write_mask(tmp_path / "masks" / name)
    with pytest.raises(
        TwinsError, match=r"several kinds of masks fit \(_mask\.png, _label\.png\); say by --mask-suffix"
    ):
        read(tmp_path)


@pytest.mark.parametrize("of_image", ["NFC", "NFD"])
def test_accents_composed_or_not(tmp_path: Path, of_image: str) -> None:
    other = "NFD" if of_image == "NFC" else "NFC"
    write_image(tmp_path / "images" / (unicodedata.normalize(of_image, "Möhre é") + ".jpg"), 2, 2)
    write_mask(tmp_path / "masks" / (unicodedata.normalize(other, "Möhre é") + ".png"))
    found = read(tmp_path)
    assert (len(found), found.warnings) == (1, ())
    assert found.read(0, 3)[1].tolist() == [[0, 1], [1, 0]]
