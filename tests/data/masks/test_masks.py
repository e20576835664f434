"""Images with masks: layouts, how values become labels, what is refused, and the check before training."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from helpers.image_files import write_image
from helpers.tallies import assert_shares_add_up
from twins.data.annotation_errors import AnnotationError
from twins.data.check_results import TRAINING, VALIDATION
from twins.data.checks import tally_images
from twins.data.images import UnreadableImageError, upright_size
from twins.data.masks.checks import MaskTally, checked_masks, classes_of, count_pixels, mask_statistics
from twins.data.masks.dataset import MaskedImages
from twins.data.masks.decoding import IGNORED, MaskCoding, read_labels
from twins.data.masks.layouts import read_mask_folders
from twins.errors import TwinsError
from twins.recipes import SegmentRecipe

PLAIN = MaskCoding()
ADE = MaskCoding(reduce_zero_label=True)


def write(path: Path, values: object, mode: str | None = None) -> Path:
    """Save an array as it is, or as numbers of a mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(values)
    image = Image.fromarray(array if array.dtype != np.int64 else array.astype(np.uint8))
    (image.convert(mode, palette=Image.Palette.ADAPTIVE) if mode else image).save(path)
    return path


def write_pair(image: Path, mask: Path, values: object = ((0, 1), (1, 0))) -> None:
    height, width = np.asarray(values).shape
    write_image(image, width, height)
    write(mask, values)


def read(root: Path, **fields: object) -> tuple[MaskedImages | None, MaskedImages | None]:
    return read_mask_folders(SegmentRecipe(data=str(root), **fields))  # type: ignore[arg-type]


def trained_on(root: Path, **fields: object) -> MaskedImages:
    train, _ = read(root, **fields)
    assert train is not None
    return train


def refused(root: Path, **fields: object) -> str:
    with pytest.raises(TwinsError) as error:
        read(root, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)


def one(tmp_path: Path, values: object, classes: int = 3, coding: MaskCoding = PLAIN) -> MaskedImages:
    """A set of one image with this mask."""
    write_pair(tmp_path / "p.jpg", tmp_path / "m.png", values)
    return MaskedImages([tmp_path / "p.jpg"], [tmp_path / "m.png"], tuple("abcdefgh"[:classes]), coding)


# Layouts

LAYOUTS = {
    "ADE20K": "images/training annotations/training images/validation annotations/validation",
    "parts inside": "images/train masks/train images/val masks/val",
    "labels": "images/train labels/train images/valid labels/valid",
    "parts named differently": "img/train annotations/training img/val annotations/validation",
    "parts around": "train/images train/masks val/images val/masks",
    "parts around, in capitals": "Train/Images Train/Masks Val/Images Val/Masks",
    "no parts": "images masks - -",
    "VOC": "JPEGImages SegmentationClass - -",
    "training alone": "train/images train/masks - -",
    "validation alone": "- - images/val masks/val",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised(tmp_path: Path, layout: str) -> None:
    folders = LAYOUTS[layout].split()
    for files, masks, names in ((*folders[:2], "ab"), (*folders[2:], "c")):
        for name in names if files != "-" else "":
            write_pair(tmp_path / files / f"deep/{name}.jpg", tmp_path / masks / f"deep/{name}.png")
    for images, files, names in zip(read(tmp_path), folders[::2], ("ab", "c"), strict=True):
        if files == "-":
            assert images is None
            continue
        assert images is not None
        assert [images.name(i) for i in range(len(images))] == [
            str(tmp_path / files / "deep" / f"{name}.jpg") for name in names
        ]
        assert [mask.stem for mask in images.masks] == list(names)
        assert images.warnings == ()
        image, mask = images.read(0, channels=3)
        assert (image.mode, image.size, mask.tolist()) == ("RGB", (2, 2), [[0, 1], [1, 0]])


def test_cityscapes_by_its_suffixes(tmp_path: Path) -> None:
    for part, city in (("train", "aachen"), ("train", "ulm"), ("val", "lindau")):
        stem = f"{part}/{city}/{city}_000000_000019"
        write_image(tmp_path / "leftImg8bit" / f"{stem}_leftImg8bit.png", 2, 1)
        for kind, values in (("labelTrainIds", [[0, 255]]), ("labelIds", [[7, 3]]), ("instanceIds", [[9, 9]])):
            write(tmp_path / "gtFine" / f"{stem}_gtFine_{kind}.png", values)
    train, val = read(tmp_path, img_suffix="_leftImg8bit.png", mask_suffix="_gtFine_labelTrainIds.png")
    assert train is not None
    assert val is not None
    assert [mask.parent.name for mask in train.masks] == ["aachen", "ulm"]
    assert train.read_mask(1).tolist() == val.read_mask(0).tolist() == [[0, 255]]
    assert (train.warnings, val.warnings) == ((), ())
    assert refused(tmp_path) == (
        f"{tmp_path / 'gtFine/train'}: several kinds of masks fit (_gtFine_labelTrainIds.png, _gtFine_labelIds.png); "
        "say by --mask-suffix which to take"
    )
    for path in tmp_path.rglob("*_labelTrainIds.png"):
        path.unlink()
    found = trained_on(tmp_path)
    assert [mask.name for mask in found.masks] == [f"{c}_000000_000019_gtFine_labelIds.png" for c in ("aachen", "ulm")]
    assert found.notes == (
        "*_leftImg8bit goes with *_gtFine_labelIds.png (--img-suffix and --mask-suffix say otherwise)",
    )
    message = refused(tmp_path, mask_suffix=".png")
    assert "aachen/aachen_000000_000019_leftImg8bit.png) has a mask" in message
    assert "aachen_000000_000019_gtFine_instanceIds.png" in message
    assert "--img-suffix (any image) and --mask-suffix (.png)" in message


def test_pairs_are_sorted_and_the_rest_is_warned_of(tmp_path: Path) -> None:
    for name in ("b/2", "a/1", "c"):
        write_pair(tmp_path / f"images/{name}.JPG", tmp_path / f"masks/{name}.PNG")
    for i in range(5):
        write_image(tmp_path / f"images/lonely{i}.jpg")
    write(tmp_path / "masks/a/widow.png", [[0]])
    (tmp_path / "images/._c.jpg").write_bytes(b"what some systems leave")
    (tmp_path / "images/notes.txt").write_text("no image")
    images = trained_on(tmp_path)
    assert [image.stem for image in images.images] == ["1", "2", "c"]
    assert images.warnings == (
        f"5 images without a mask in {tmp_path / 'images'}: lonely0.jpg, lonely1.jpg, lonely2.jpg and 2 more",
        f"1 mask without an image in {tmp_path / 'masks'}: a/widow.png",
    )
    part = images.subset([2, 0])
    assert [Path(part.name(i)).stem for i in range(len(part))] == [mask.stem for mask in part.masks] == ["c", "1"]


def test_two_images_for_one_mask(tmp_path: Path) -> None:
    write_pair(tmp_path / "images/x.jpg", tmp_path / "masks/x.png")
    write_image(tmp_path / "images/x.png", 2, 2)
    assert "x.jpg and x.png differ by suffix alone; say by --img-suffix" in refused(tmp_path)
    assert trained_on(tmp_path, img_suffix=".png").name(0).endswith("x.png")


BAD_LAYOUTS = {
    "file": ("is not a folder; --data takes a folder with images/train and masks/train", ["!data"]),
    "nothing": ("no such folder; --data takes a folder with", []),
    "no images": ("no folder of images there (images, image,", ["data/other/a.jpg", "data/masks/a.png"]),
    "no masks": ("no folder of masks there (masks, mask,", ["data/images/a.jpg"]),
    "no masks within a part": ("data/val: no folder of masks there",
                               ["data/train/images/a.jpg", "data/train/masks/a.png", "data/val/images/a.jpg"]),
    "no part of masks": ("data/masks: no folder val or valid or validation there to go with",
                         ["data/images/train/a.jpg", "data/masks/train/a.png", "data/images/val/a.jpg"]),
    "no part of images": ("data/images: no folder val or valid or validation there to go with",
                            ["data/images/train/a.jpg", "data/masks/train/a.png", "data/masks/val/a.png"]),
    "empty": ("no image (it is empty) has a mask in", ["data/images/", "data/masks/"]),
    "JPEG masks": ("data/masks: all masks are JPEG files (a.jpg); its compression invents values",
                   ["data/images/a.jpg", "data/masks/a.jpg"]),
    "other names": ("no image (as a.jpg) has a mask in", ["data/images/a.jpg", "data/masks/a_depth.png"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LAYOUTS)
def test_bad_layout_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    gist, files = BAD_LAYOUTS[case]
    for file in files:
        path = tmp_path / file.strip("!")
        if file.endswith("/"):
            path.mkdir(parents=True)
        elif file.startswith("!"):
            path.write_bytes(b"PK")
        else:
            write(path, [[0]])
    message = refused(tmp_path / "data")
    assert gist in message
    assert message.startswith(str(tmp_path / "data"))


# Names of classes


def pair_with_names(root: Path, text: str, file: str = "classes.txt") -> Path:
    write_pair(root / "images/a.jpg", root / "masks/a.png")
    (root / file).write_text(text, encoding="utf-8")
    return root


def test_names_of_classes_come_from_flag_folder_or_nowhere(tmp_path: Path) -> None:
    write_pair(tmp_path / "images/a.jpg", tmp_path / "masks/a.png")
    assert trained_on(tmp_path).classes == ()
    pair_with_names(tmp_path, "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.15\t11\t1\t1\twall\n"
                    "2\t0.1\t6\t6\t1\tbuilding, edifice\n", "objectInfo150.txt")  # fmt: skip
    assert trained_on(tmp_path).classes == ("wall", "building")
    pair_with_names(tmp_path, "\ufeffstraße\n\n tree, or bush \n")
    assert trained_on(tmp_path).classes == ("straße", "tree, or bush")
    assert trained_on(tmp_path, classes_file=str(tmp_path / "objectInfo150.txt")).classes == ("wall", "building")


def test_colours_of_classes(tmp_path: Path) -> None:
    images = trained_on(pair_with_names(tmp_path, "sky,0,0,0\nroad, 128, 64,128\n"), ignore_index=1)
    assert images.classes == ("sky", "road")
    assert images.coding == MaskCoding(False, 1, ((0, 0, 0), (128, 64, 128)))
    assert "--reduce-zero-label is for masks of numbers" in refused(tmp_path, reduce_zero_label=True)


@pytest.mark.parametrize(("count", "text"), [(0, "\n"), (1, "a\n"), (256, "\n".join(map(str, range(256))))])
def test_too_few_or_too_many_classes(tmp_path: Path, count: int, text: str) -> None:
    message = f"classes.txt: {count} lines with names of classes; expected 2 to 255"
    assert message in refused(pair_with_names(tmp_path, text))


def test_unreadable_names_of_classes(tmp_path: Path) -> None:
    pair_with_names(tmp_path, "a\nb\n")
    assert "gone.txt: cannot read names of classes" in refused(tmp_path, classes_file=str(tmp_path / "gone.txt"))


def test_255_classes_are_not_too_many(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(255)]
    images = trained_on(pair_with_names(tmp_path, "\n".join(names)))
    assert len(images.classes) == 255
    write(images.masks[0], [[254, 255], [0, 0]])
    assert images.read_mask(0).tolist() == [[254, 255], [0, 0]]


# From values to labels

CODINGS = {
    "as it is": (PLAIN, [0, 1, 253, 254, 255], [0, 1, 253, 254, 255]),
    "without 0": (ADE, [0, 1, 2, 254, 255], [255, 0, 1, 253, 255]),
    "7 ignored": (MaskCoding(ignore_index=7), [0, 6, 7, 8, 254], [0, 6, 255, 8, 254]),
    "0 ignored": (MaskCoding(ignore_index=0), [0, 1, 2, 3, 4], [255, 1, 2, 3, 4]),
    "2 ignored, and without 0": (MaskCoding(True, 2), [0, 1, 2, 3, 255], [255, 0, 255, 2, 255]),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32], ids=["8 bits", "16 bits", "32 bits"])
@pytest.mark.parametrize("case", CODINGS)
def test_values_become_labels(tmp_path: Path, case: str, dtype: type) -> None:
    coding, values, labels = CODINGS[case]
    path = write(tmp_path / ("m.tif" if dtype is np.int32 else "m.png"), np.array([values], dtype=dtype))
    found = read_labels(path, coding)
    assert (found.tolist(), found.dtype) == ([labels], np.uint8)


def test_wide_values_may_be_ignored_or_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.png", np.array([[0, 3, 65535]], dtype=np.uint16))
    assert read_labels(path, MaskCoding(ignore_index=65535)).tolist() == [[0, 3, 255]]
    with pytest.raises(
        AnnotationError,
        match=r"m\.png: value 65535 cannot be a class; if .* no class: --ignore-index 65535; .*0 to 254",
    ):
        read_labels(path, PLAIN)
    write(path, [[0, 255]])
    with pytest.raises(AnnotationError, match="value 255 cannot be a class"):
        read_labels(path, MaskCoding(ignore_index=0))
    negative = write(tmp_path / "m.tif", np.array([[0, -1]], dtype=np.int32))
    with pytest.raises(AnnotationError, match="value -1 cannot be a class"):
        read_labels(negative, PLAIN)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_palettes_and_single_bits_hold_numbers(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 1, 2, 200], [2, 1, 0, 255]], dtype=np.uint8)
    image = Image.fromarray(values)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    assert image.mode == "P"
    image.save(tmp_path / f"p.{suffix}")
    assert read_labels(tmp_path / f"p.{suffix}", PLAIN).tolist() == values.tolist()
    bits = Image.fromarray(values == 1)
    assert bits.mode == "1"
    bits.save(tmp_path / f"bits.{suffix}")
    assert read_labels(tmp_path / f"bits.{suffix}", PLAIN).tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]


COLOURS = ((0, 0, 0), (255, 255, 255), (128, 64, 0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "1"])
def test_colours_are_looked_up_in_whatever_way_they_are_stored(tmp_path: Path, mode: str) -> None:
    labels = np.array([[0, 1, 1], [1, 0, 0]] if mode in "L1" else [[2, 0, 1], [1, 0, 0]])
    path = write(tmp_path / "m.png", np.array(COLOURS, dtype=np.uint8)[labels], mode)
    with Image.open(path) as image:
        assert image.mode == mode
    assert read_labels(path, MaskCoding(colours=COLOURS)).tolist() == labels.tolist()
    ignoring = read_labels(path, MaskCoding(colours=COLOURS, ignore_index=1))
    assert ignoring.tolist() == np.where(labels == 1, IGNORED, labels).tolist()


def test_as_many_colours_as_can_be(tmp_path: Path) -> None:
    colours = tuple((i, 255 - i, i // 2) for i in range(255))
    path = write(tmp_path / "m.png", np.array([colours], dtype=np.uint8))
    assert read_labels(path, MaskCoding(colours=colours)).tolist() == [list(range(255))]


def test_colour_of_no_class(tmp_path: Path) -> None:
    path = write(tmp_path / "m.png", np.array([[(0, 0, 0), (128, 64, 1)]], dtype=np.uint8))
    with pytest.raises(AnnotationError, match=r"m\.png: colour 128,64,1 is none of the 3 classes'; list all colours"):
        read_labels(path, MaskCoding(colours=COLOURS))
    wide = write(tmp_path / "wide.png", np.array([[0, 300]], dtype=np.uint16))
    with pytest.raises(AnnotationError, match=r"wide\.png: no colours in a mask of mode I;16; save colour masks as"):
        read_labels(wide, MaskCoding(colours=COLOURS))


def test_opacity_beside_grey_says_nothing(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "m.png", [[0, 1], [2, 255]], "LA"), MaskCoding())
    assert labels.tolist() == [[0, 1], [2, 255]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_masks_without_known_colours(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "m.png", [[0, 1]], mode)
    with pytest.raises(AnnotationError, match=rf"m\..*: a colour mask \({mode}\), .* `name,R,G,B` .* grey PNG"):
        read_labels(path, PLAIN)


def test_jpeg_masks_are_known_by_content(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "m.png", format="JPEG")
    with pytest.raises(AnnotationError, match=r"m\.png: the mask is a JPEG file; its compression invents values"):
        read_labels(tmp_path / "m.png", PLAIN)


def test_value_outside_the_classes(tmp_path: Path) -> None:
    with pytest.raises(
        AnnotationError, match=r"m\.png: value 3 is outside the 3 classes; .*--reduce-zero-label.*--classes"
    ):
        one(tmp_path, [[0, 3, 255]]).read(0, 3)
    with pytest.raises(AnnotationError, match="value 4 is outside the 3 classes"):  # as the file has it
        one(tmp_path, [[0, 4, 255]], coding=ADE).read_mask(0)
    assert one(tmp_path, [[0, 3, 255]], coding=ADE).read_mask(0).tolist() == [[255, 2, 255]]
    unnamed = one(tmp_path, [[0, 3, 255]], classes=0)
    assert unnamed.read_mask(0).tolist() == [[0, 3, 255]]
    with pytest.raises(AnnotationError, match="value 3 is outside the 2 classes"):
        unnamed.with_classes(["x", "y"]).read_mask(0)


def test_labels_are_those_of_a_network_by_name(tmp_path: Path) -> None:
    images = one(tmp_path, [[0, 1, 2, 255]])
    network = images.for_network(("b", "x", "c", "a"), "here")
    assert network.classes == ("b", "x", "c", "a")
    assert network.read_mask(0).tolist() == [[3, 0, 2, 255]]
    assert network.subset([0]).with_classes(network.classes).read_mask(0).tolist() == [[3, 0, 2, 255]]
    assert tally(network, [0]).pixels == {3: 1, 0: 1, 2: 1, 255: 1}
    assert images.for_network(("a", "b", "c"), "here") == images
    assert images.with_classes(()).for_network("xyz", "here").read_mask(0).tolist() == [[0, 1, 2, 255]]
    with pytest.raises(TwinsError, match=r"here: class 'b' is none of the 2 that the network knows; call it"):
        images.for_network(("a", "c"), "here")
    write(tmp_path / "m.png", [[0, 3]])
    with pytest.raises(AnnotationError, match="value 3 is outside the 3 classes"):  # of the data, not of the network
        network.read_mask(0)


def test_broken_files_are_named(tmp_path: Path) -> None:
    images = one(tmp_path, np.random.default_rng(0).integers(0, 3, (64, 64)))
    whole = {path: path.read_bytes() for path in (*images.images, *images.masks)}
    for path, content in whole.items():
        for broken in (content[: len(content) // 2], b"", b"<html>404</html>"):
            path.write_bytes(broken)
            with pytest.raises(UnreadableImageError, match=path.name):
                images.read(0, 3)
        path.unlink()
        with pytest.raises(UnreadableImageError, match=path.name):
            images.read(0, 3)
        path.write_bytes(content)
    images.masks[0].unlink()
    with pytest.raises(UnreadableImageError, match=r"m\.png"):
        images.read_mask(0)
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg"):
        upright_size(tmp_path / "gone.jpg")


def test_errors_survive_the_way_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(AnnotationError("m.png: wrong", "fix it")))  # noqa: S301
    assert (str(error), error.what, error.advice) == ("m.png: wrong; fix it", "m.png: wrong", "fix it")


# Sizes


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_masks_fit_upright_images(tmp_path: Path, suffix: str) -> None:
    image = write_image(tmp_path / f"p.{suffix}", 6, 4, turned=True)
    assert upright_size(image) == (6, 4)
    images = MaskedImages([image], [write(tmp_path / "m.png", np.zeros((6, 4)), "L")], ("a", "b"), PLAIN)
    shown, mask = images.read(0, channels=1)
    assert (shown.mode, shown.size, mask.shape) == ("L", (4, 6), (6, 4))
    write(tmp_path / "m.png", np.zeros((4, 6)), "L")
    with pytest.raises(
        AnnotationError, match=r"m\.png: 6 x 4 pixels, but .*p\..* has 4 x 6; width and height are swapped"
    ):
        images.read(0, 3)
    write(tmp_path / "m.png", np.zeros((4, 5)), "L")
    with pytest.raises(
        AnnotationError, match=r"5 x 4 pixels, but .* has 4 x 6; save each mask in the size of its image"
    ):
        images.read(0, 3)


def test_masks_with_the_tag_of_their_image_turn_with_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    Image.fromarray(values).save(tmp_path / "m.png", exif=exif)
    image = write_image(tmp_path / "p.jpg", 3, 2, turned=True)
    _, mask = MaskedImages([image], [tmp_path / "m.png"], tuple("abcdef"), PLAIN).read(0, 3)
    assert mask.tolist() == np.rot90(values, -1).tolist() == [[3, 0], [4, 1], [5, 2]]


# The check before training


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> MaskedImages:
    """25 random masks of 6 classes, of which `f` never occurs; image 3 has none."""
    root = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for i in range(25):
        values = rng.choice([0, 1, 2, 3, 4, 255], rng.integers(2, 20, 2), p=[0.5, 0.2, 0.1, 0.05, 0.05, 0.1])
        write_pair(
            root / f"images/{i:02d}.jpg", root / f"masks/{i:02d}.png", np.full((9, 9), 255) if i == 3 else values
        )
    write_image(root / "images/lonely.jpg")
    (root / "classes.txt").write_text("\n".join("abcdef"))
    return trained_on(root)


@pytest.fixture
def spoilt(tmp_path: Path) -> MaskedImages:
    """12 images of which 10 are bad, in six ways."""
    for i in range(12):
        write_pair(tmp_path / f"images/{i:02d}.jpg", tmp_path / f"masks/{i:02d}.png", [[0, 1, 2], [2, 1, 0]])
    masks = tmp_path / "masks"
    for i in range(5):
        write(masks / f"{i:02d}.png", [[0, 1, 4 + i], [2, 1, 0]])
    write(masks / "05.png", [[0, 1], [1, 0], [2, 2]])
    write(masks / "06.png", [[0, 1]])
    Image.new("L", (3, 2)).save(masks / "07.png", format="JPEG")
    (masks / "08.png").write_bytes(b"")
    (tmp_path / "images/09.jpg").write_bytes(b"<html>")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    return trained_on(tmp_path)


def tally(images: MaskedImages, indices: Iterable[int], **options: Any) -> MaskTally:
    return tally_images(partial(count_pixels, images, False), MaskTally(), indices, **options)


def test_counts_equal_a_plain_count(many: MaskedImages) -> None:
    found = checked_masks(many, tally(many, range(len(many))))
    masks = [np.asarray(Image.open(mask)) for mask in many.masks]
    for label in (*range(6), 255):
        assert found.tally.pixels[label] == sum(int((mask == label).sum()) for mask in masks)
    for label in range(6):
        assert found.tally.images[label] == sum(bool((mask == label).any()) for mask in masks)
    assert found.tally.of_classes == sum(int((mask != 255).sum()) for mask in masks)
    sizes = sorted((mask.shape for mask in masks), key=lambda size: size[1])
    longest = max(sizes, key=lambda size: max(size) / min(size))
    assert found.tally.sizes.extremes == (min(sizes, key=np.prod), max(sizes, key=np.prod), longest)
    assert found.errors == ()
    unpaired, empty, never = found.warnings
    assert unpaired.startswith("1 image without a mask")
    assert empty == f"no pixel of any class in the mask: {many.name(3)}"
    assert never == "classes that never occur: f"


def test_shares_add_up_to_the_whole(many: MaskedImages, spoilt: MaskedImages) -> None:
    for images in (many, spoilt):
        every = range(len(images))
        assert_shares_add_up([tally(images, [i]) for i in every], tally(images, every))


@pytest.mark.parametrize("kind", ["many", "spoilt"])
def test_workers_find_the_same(request: pytest.FixtureRequest, kind: str) -> None:
    images = request.getfixturevalue(kind)
    alone = tally(images, range(1, len(images)))
    assert tally(images, range(1, len(images)), workers=2) == alone
    assert pickle.loads(pickle.dumps(alone)) == alone  # noqa: S301


def test_errors_are_given_by_kind_with_a_few_names(spoilt: MaskedImages) -> None:
    counted = tally(spoilt, range(len(spoilt)))
    found = checked_masks(spoilt, counted)
    assert not any("\n" in line for line in found.errors + found.warnings)
    m = spoilt.masks[0].parent
    assert (
        f"{m}/00.png: value 4 is outside the 3 classes; {m}/01.png: value 5 is outside the 3 classes; "
        f"{m}/02.png: value 6 is outside the 3 classes and 2 more; name all classes (--classes), or"
    ) in "".join(found.errors)
    text = " | ".join(found.errors)
    assert len(found.errors) == 5
    assert "05.png: 2 x 3 pixels" in text
    assert "width and height are swapped" in text
    assert "06.png: 2 x 1 pixels" in text
    assert "save each mask in the size of its image" in text
    assert "07.png: the mask is a JPEG file" in text
    assert "08.png" in found.errors[-1]
    assert "09.jpg" in found.errors[-1]
    assert found.errors[-1].endswith("fix these files, or pass --bad-images skip")
    assert found.tally.pixels == {0: 4, 1: 4, 2: 4}  # of the two that are as they should be
    skipping = checked_masks(spoilt, counted, skip_unreadable=True)
    assert skipping.errors == found.errors[:-1]
    assert "09.jpg" in skipping.warnings[-1]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_images_are_not_decoded_for_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    def load(image: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    opened = write_image(tmp_path / f"x.{suffix}", 5, 7)
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert upright_size(opened) == (7, 5)


def test_classes_without_names_are_numbered_over_both_parts(tmp_path: Path) -> None:
    write_pair(tmp_path / "train/images/a.jpg", tmp_path / "train/masks/a.png", [[0, 1, 255]])
    write_pair(tmp_path / "val/images/b.jpg", tmp_path / "val/masks/b.png", [[0, 3, 255]])
    train, val = read(tmp_path)
    assert train is not None
    assert val is not None
    tallies = [tally(images, [0]) for images in (train, val)]
    classes = classes_of(train, tallies[0] + tallies[1])
    assert classes == ("0", "1", "2", "3")
    found = checked_masks(train.with_classes(classes), tallies[0])
    assert (found.tally.pixels, found.tally.images) == ({0: 1, 1: 1, 255: 1}, {0: 1, 1: 1})
    assert found.warnings == ("classes that never occur: 2, 3",)
    assert classes_of(train.with_classes("xy"), tallies[0] + tallies[1]) == ("x", "y")


def test_statistics_have_a_row_a_class(tmp_path: Path) -> None:
    write_pair(tmp_path / "train/images/a.jpg", tmp_path / "train/masks/a.png", [[0, 1, 1], [0, 1, 255]])
    write_pair(tmp_path / "train/images/b.jpg", tmp_path / "train/masks/b.png", [[2, 2]])
    write_pair(tmp_path / "val/images/c.jpg", tmp_path / "val/masks/c.png", [[0, 1]])
    (tmp_path / "val/images/c.jpg").write_bytes(b"<html>")
    train, val = read(tmp_path)
    assert train is not None
    assert val is not None
    recipe = SegmentRecipe(workers=0, img_size=512, resize=(200, 100))
    statistics = mask_statistics({TRAINING: train, VALIDATION: val}, recipe)
    assert statistics.parts == (
        "training: 2 images with masks, 2 x 1 to 3 x 2; 12.50 % of pixels are of no class",
        "validation: 1 images with masks, of which none can be used",
    )
    assert statistics.columns == ("class", "training: images", "of pixels", "validation: images", "of pixels")
    assert statistics.rows == (
        ("0", "1", "28.57 %", "0", "0.00 %"),
        ("1", "1", "42.86 %", "0", "0.00 %"),
        ("2", "1", "28.57 %", "0", "0.00 %"),
    )
    unreadable, crop = statistics.errors
    assert unreadable.startswith(f"validation: unreadable: {val.name(0)}: ")
    assert crop.startswith("--img-size 512 is larger than any image: the largest, 3 x 2, is at most 300 x 200 after")
    assert statistics.warnings == ("validation: classes that never occur: 0, 1, 2",)


def test_masks_without_any_class_or_readable_image(tmp_path: Path) -> None:
    images = one(tmp_path, [[255, 255]], classes=2)
    assert (
        checked_masks(images, tally(images, [0]))
        .errors[0]
        .startswith(f"{tmp_path}: no pixel of any class in all these masks; 255 is no class")
    )
    images.masks[0].write_bytes(b"")
    skipped = checked_masks(images, tally(images, [0]), skip_unreadable=True)
    assert skipped.errors == (f"{tmp_path}: none of the images with masks can be read",)


def test_black_and_white_masks(tmp_path: Path) -> None:
    images = one(tmp_path, [[0, 255], [255, 0]], classes=0)
    counted = tally(images, [0])

    def hint(first: str, second: str) -> str:
        return (
            f"255 is no class: for black and white masks list `{first},0,0,0` and `{second},255,255,255` in "
            "classes.txt, or pass --mask-threshold 128"
        )

    alone = f"{tmp_path}: fewer than two classes in these masks: {{}} alone is left to learn; {{}}"
    assert checked_masks(images.with_classes(classes_of(images, counted)), counted).errors == (
        alone.format("'0'", hint("rest", "thing")),
    )
    named = images.with_classes("ab")
    assert checked_masks(named, counted).errors == (alone.format("'a'", hint("a", "b")),)
    to_evaluate = checked_masks(named, counted, training=False)
    assert (to_evaluate.errors, to_evaluate.warnings) == ((), (f"classes that never occur: b; {hint('a', 'b')}",))
    coloured = one(tmp_path, [[0, 255], [255, 0]], 2, MaskCoding(colours=((0, 0, 0), (255, 255, 255))))
    assert tally(coloured, [0]).pixels == {0: 2, 1: 2}


def test_labels_occur_in_images_once(tmp_path: Path) -> None:
    images = one(tmp_path, [[0, 0, 0, 1, 255]])
    counted = tally(images, [0, 0])
    assert (counted.pixels, counted.images) == (Counter({0: 6, 1: 2, 255: 2}), Counter({0: 2, 1: 2}))
    assert tally(images, []) == MaskTally()
