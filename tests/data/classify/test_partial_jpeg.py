"""The fast way from JPEG files to tensors: the same random numbers as the ordinary one, and nearly the same pixels."""

from __future__ import annotations

import random
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torchvision import transforms

from twins.data.classify.dataset import LabelledImages
from twins.data.classify.fast_shear import use_fast_shear
from twins.data.classify.jpeg_header import ending_after, plain_size
from twins.data.classify.partial_jpeg import JpegImage, OpenedImages, open_jpeg, reduction_for
from twins.data.classify.transforms import eval_transform, train_transform
from twins.data.images import ImageReading, UnreadableImageError
from twins.data.sampling import SampleKey
from twins.errors import TwinsError
from twins.optional_dependencies import need
from twins.preprocessing import ClassifyPreprocessing
from twins.recipes import ClassifyRecipe, find_recipe
from twins.tasks.classify import Classification
from twins.training.evaluation import recipe_of_checkpoint

needs_turbo = pytest.mark.skipif(find_spec("simplejpeg") is None, reason="simplejpeg (turbo) is not installed")
PUBLISHED = find_recipe("twins_svt_small")
SIZES = {"small": (500, 375), "large": (1600, 1200), "odd": (1203, 901)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """scikit-learn's two photographs at three sizes, mirrored at their borders where they are too small."""
    folder = tmp_path_factory.mktemp("photographs")
    found: dict[str, list[Path]] = {}
    for name, (width, height) in SIZES.items():
        for number, pixels in enumerate(need("sklearn.datasets", extra="train").load_sample_images().images):
            part = pixels[:height, :width]
            room = ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0))
            path = folder / f"{name}{number}.jpg"
            Image.fromarray(np.pad(part, room, mode="symmetric")).save(path, quality=90)
            found.setdefault(name, []).append(path)
    return found


def tensors(recipe: ClassifyRecipe, paths: list[Path], decoder: str, training: bool, epochs: int = 1) -> list[Tensor]:
    images = LabelledImages(paths, [0] * len(paths), ("a",))
    dataset = Classification(recipe.replace(decoder=decoder))._tensors(images, training)
    return [dataset[SampleKey(index, epoch)].image for epoch in range(epochs) for index in range(len(paths))]


def mean_difference(one: Tensor, other: Tensor) -> float:
    """Of 255, averaged over all pixels of two normalised images."""
    return float(((one - other) * torch.tensor(PUBLISHED.std)[:, None, None]).abs().mean() * 255)


@needs_turbo
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("img_size", [224, 384])
def test_evaluation_sees_the_same_pixels_but_for_less_than_one_of_255(
    photographs: dict[str, list[Path]], size: str, img_size: int
) -> None:
    recipe = PUBLISHED.replace(img_size=img_size)
    ordinary, fast = (tensors(recipe, photographs[size], decoder, training=False) for decoder in ("pillow", "turbo"))
    for one, other in zip(ordinary, fast, strict=True):
        assert one.shape == other.shape == (3, img_size, img_size)
        assert 0 < mean_difference(one, other) < (0.02 if size == "small" else 1)


@needs_turbo
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
def test_training_draws_the_same_crops_flips_operations_and_erasing(
    photographs: dict[str, list[Path]], interpolation: str
) -> None:
    """Another draw would be another image, tens of 255 away; steep operations alone enlarge small differences."""
    recipe = PUBLISHED.replace(train_interpolation=interpolation)
    paths = photographs["small"] + photographs["odd"]
    ordinary, fast = (tensors(recipe, paths, decoder, training=True, epochs=5) for decoder in ("pillow", "turbo"))
    differences = [mean_difference(*pair) for pair in zip(ordinary, fast, strict=True)]
    assert np.mean(differences) < 0.8
    assert np.quantile(differences, 0.9) < 2
    assert max(differences) < 8
    erased = [(image[:, 1:] != image[:, :-1]).float().mean() for image in ordinary]
    assert len(set(erased)) == len(erased)  # and no two views are alike


@needs_turbo
def test_crops_flips_and_colours_are_distributed_as_by_timm(photographs: dict[str, list[Path]]) -> None:
    """Two-sample Kolmogorov-Smirnov tests, with randomness that the two do not share."""
    kolmogorov = pytest.importorskip("scipy.stats").ks_2samp
    width, height = 500, 375
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    path = photographs["small"][0].with_name("ramp.jpg")  # the colours of a corner tell where the crop was
    Image.fromarray(np.stack([x, y, x / 2 + y / 2], axis=2).astype(np.uint8)).save(path, quality=95)
    recipe = PUBLISHED.replace(img_size=64, aa=None, color_jitter=None, reprob=0.25)
    measured = []
    for decoder, seed in (("pillow", 0), ("turbo", 1)):
        views = torch.stack(tensors(recipe.replace(seed=seed), [path], decoder, training=True, epochs=250))
        left, right, top, bottom = (
            views[..., 0].mean(2), views[..., -1].mean(2), views[:, :, 0].mean(2), views[:, :, -1].mean(2)
        )  # fmt: skip
        measured.append(
            {
                "left edge": left[:, 0],
                "right edge": right[:, 0],
                "top edge": top[:, 1],
                "bottom edge": bottom[:, 1],
                "flip": (left[:, 0] > right[:, 0]).float(),
                "erased": views.std(dim=(1, 2, 3)),
            }
        )
    for name, of_pillow in measured[0].items():
        assert kolmogorov(of_pillow.numpy(), measured[1][name].numpy()).pvalue > 0.001, name


@pytest.mark.parametrize("name", ["ShearX", "ShearY", "TranslateXRel", "TranslateYRel"])
@pytest.mark.parametrize("resample", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
@pytest.mark.parametrize("magnitude", [0.0, 0.5, 9.0, 30.0])
def test_shifting_rows_is_pillows_affine_map_but_for_rounding(
    name: str, resample: Image.Resampling, magnitude: float
) -> None:
    module = need("timm.data.auto_augment", extra="train")
    hparams = {"img_mean": (124, 116, 104), "interpolation": resample, "magnitude_max": 40}
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    outputs = []
    for fast in (False, True):
        operation = module.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=hparams)
        if fast:
            before = operation.aug_fn
            use_fast_shear(operation)
            assert operation.aug_fn is not before
        random.seed(1)
        outputs.append(np.asarray(operation(Image.fromarray(pixels))).astype(int))
    difference = np.abs(outputs[0] - outputs[1])
    assert difference.max() <= 1
    assert difference.mean() < 0.02


@pytest.mark.parametrize("policy", ["rand-m15-inc1", "v0", "augmix-m9"])
def test_operations_may_keep_no_bits_of_an_image(policy: str) -> None:
    """Which newer versions of Pillow refuse: `rand-m9-mstd0.5-inc1` asks for it once in some 700 images."""
    image = Image.new("RGB", (48, 48), (200, 100, 50))
    steps = train_transform(PUBLISHED.replace(img_size=48, aa=policy)).transforms
    lists = [ops for step in steps for ops in (getattr(step, "ops", []), *getattr(step, "policy", []))]
    posterize = [operation for ops in lists for operation in ops if operation.name.startswith("Posterize")]
    assert posterize
    for operation in posterize:
        assert operation.aug_fn(image, 0).getextrema() == ((0, 0),) * 3
        assert operation.aug_fn(image, 1).getextrema() == ((128, 128), (0, 0), (0, 0))
        assert operation.aug_fn(image, 8).getextrema() == ((200, 200), (100, 100), (50, 50))


def test_other_operations_stay_timms() -> None:
    operation = need("timm.data.auto_augment", extra="train").AugmentOp("Rotate", hparams={})
    before = operation.aug_fn
    use_fast_shear(operation)
    assert operation.aug_fn is before


def test_normalising_is_torchvisions_to_the_last_bit() -> None:
    preprocessing = ClassifyPreprocessing(img_size=48, crop_pct=1.0)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(preprocessing.mean, preprocessing.std)])
    assert torch.equal(eval_transform(preprocessing)(image), theirs(image))


def test_an_image_is_reduced_only_where_twice_the_pixels_stay() -> None:
    assert [reduction_for(side / 224) for side in (100, 895, 896, 1791, 1792, 4000)] == [1, 1, 2, 2, 4, 8]


@needs_turbo
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"comment": b"said"}])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("box", [(0, 0, 40, 48), (31, 7, 250, 100), (3, 60, 223, 300), (100, 250, 400, 359)])
def test_rows_below_the_crop_change_nothing(
    photographs: dict[str, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    subsampling: str,
    box: tuple[int, int, int, int],
) -> None:
    path = tmp_path / "a.jpg"
    Image.open(photographs["small"][0]).save(path, subsampling=subsampling, **options)
    decoded = []
    decode = need("simplejpeg", extra="turbo").decode_jpeg

    def noting(*given: object, **how: object) -> np.ndarray:
        decoded.append(decode(*given, **how))
        return decoded[-1]

    monkeypatch.setattr("simplejpeg.decode_jpeg", noting)
    outputs = []
    for shorten in (True, False):
        if not shorten:
            monkeypatch.setattr("twins.data.classify.partial_jpeg.ending_after", lambda content, rows: None)
        outputs.append(
            [
                np.asarray(JpegImage(path, path.read_bytes(), (375, 500)).resized(size, box))
                for size in ((24, 20), (60, 90))
            ]
        )
    for one, other in zip(*outputs, strict=True):
        assert np.array_equal(one, other)
    shortened, whole = decoded[:2], decoded[2:]
    for part, image in zip(shortened, whole, strict=True):
        assert len(part) < len(image) or box[3] == 359


def test_the_header_of_a_file_may_end_it_earlier(photographs: dict[str, list[Path]]) -> None:
    content = photographs["odd"][0].read_bytes()
    shortened = ending_after(content, 300)
    assert shortened is not None
    assert Image.open(BytesIO(shortened)).size == (1203, 300)
    assert sum(one != other for one, other in zip(content, shortened, strict=True)) <= 2
    for length in (0, 1, 2, 3, 4, 100, 160, len(content) - 1):  # what is missing shall still be noticed
        assert ending_after(content[:length], 300) is None
    assert ending_after(b"\xff\xd8 no marker \xff\xd9", 300) is None
    assert ending_after(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9", 300) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"comment": b"said"}, {"dpi": (72, 72)}, {"exif": True}]
)
def test_sizes_are_pillows(options: dict[str, object], mode: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = BytesIO()
    Image.new(mode, (300, 1000)).save(buffer, "JPEG", **(options | ({"exif": exif} if "exif" in options else {})))
    content = buffer.getvalue()
    assert plain_size(content) == ((1000, 300) if mode == "RGB" and "exif" not in options else None)
    assert plain_size(content[:20]) is plain_size(b"") is plain_size(content[2:]) is None


# Files that are not plain


@needs_turbo
@pytest.mark.parametrize("orientation", range(2, 9))
def test_images_are_turned_upright_on_both_ways(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((60, 80, 3), dtype=np.uint8)
    pixels[:30, :40], pixels[:30, 40:] = 255, 90  # no turn leaves that as it is
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    recipe = PUBLISHED.replace(img_size=48)
    ordinary, fast = (tensors(recipe, [tmp_path / "a.jpg"], decoder, training=False) for decoder in ("pillow", "turbo"))
    assert torch.equal(ordinary[0], fast[0])
    exif[ExifTags.Base.Orientation] = 1
    Image.fromarray(pixels).save(tmp_path / "upright.jpg", exif=exif, quality=95)
    assert isinstance(open_jpeg(tmp_path / "upright.jpg"), JpegImage)
    assert mean_difference(tensors(recipe, [tmp_path / "upright.jpg"], "turbo", training=False)[0], fast[0]) > 10


@needs_turbo
@pytest.mark.parametrize(
    ("mode", "name"), [("L", "grey.jpg"), ("CMYK", "cmyk.jpg"), ("RGB", "png.jpg"), ("RGB", "a.png")]
)
def test_what_is_no_plain_jpeg_is_read_as_before(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)).convert(mode)
    image.save(tmp_path / name, format="PNG" if "png" in name else "JPEG")
    recipe = PUBLISHED.replace(img_size=48)
    ordinary, fast = (tensors(recipe, [tmp_path / name], decoder, training=False) for decoder in ("pillow", "turbo"))
    assert torch.equal(ordinary[0], fast[0])


@needs_turbo
def test_images_of_too_many_pixels_are_refused(photographs: dict[str, list[Path]]) -> None:
    with pytest.raises(UnreadableImageError, match="more than --max-megapixels 0.1: raise that"):
        open_jpeg(photographs["small"][0], ImageReading(max_megapixels=0.1))


@needs_turbo
@pytest.mark.parametrize("keep", [0, 10, 600, 5000])
def test_damaged_files_are_unreadable_and_named(photographs: dict[str, list[Path]], tmp_path: Path, keep: int) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(photographs["small"][0].read_bytes()[:keep])
    images = OpenedImages(LabelledImages([damaged, photographs["small"][1]], [0, 1], ("a", "b")))
    dataset = Classification(PUBLISHED.replace(decoder="turbo"))._tensors(images.images, training=True)
    sample = dataset[SampleKey(0)]
    assert sample.image_index == sample.label == 1  # the next readable one instead
    assert str(damaged) in sample.unreadable[0]
    with pytest.raises(UnreadableImageError, match=r"missing\.jpg"):
        open_jpeg(tmp_path / "missing.jpg")


# Which way is taken


def test_a_run_keeps_the_way_that_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, decoder in ((None, "pillow"), (object(), "turbo")):
        monkeypatch.setattr("twins.recipes.classify.find_spec", lambda name, found=found: found)
        assert PUBLISHED.resolve(1).decoder == decoder
        assert PUBLISHED.replace(decoder="pillow").resolve(1).decoder == "pillow"


def test_evaluation_chooses_anew(tmp_path: Path) -> None:
    """A run that was trained where the library is can be evaluated where it is not."""
    meta = {"task": "classify", "recipe": PUBLISHED.replace(decoder="turbo").to_dict()}
    torch.save({"format": 1, "model": {"norm.weight": torch.ones(8)}, "meta": meta}, tmp_path / "checkpoint.pth")
    assert recipe_of_checkpoint(tmp_path / "checkpoint.pth", "classify", {}).decoder == "auto"
    assert recipe_of_checkpoint(tmp_path / "checkpoint.pth", "classify", {"decoder": "pillow"}).decoder == "pillow"


def test_a_missing_library_is_named_or_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (64, 48)).save(tmp_path / part / name / "0.jpg")
    monkeypatch.setitem(__import__("sys").modules, "simplejpeg", None)
    monkeypatch.setattr("twins.recipes.classify.find_spec", lambda name: None)
    recipe = PUBLISHED.replace(data=str(tmp_path), img_size=48)
    with pytest.raises(TwinsError, match=r'simplejpeg is not installed; run: pip install "twins-vit\[turbo\]"'):
        Classification(recipe.replace(decoder="turbo")).datasets()
    task = Classification(recipe)
    _, val = task.datasets()
    assert val.at(0).image.shape == (3, 48, 48)
    assert task.notes == ['JPEG files are decoded by Pillow; pip install "twins-vit[turbo]" makes that faster']
