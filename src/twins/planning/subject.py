"""What is planned: a recipe on the data set that it names, or a run on its own data, with what is known of both."""

from __future__ import annotations

import csv
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import TwinsError
from ..recipes import ClassifyRecipe, Recipe, find_recipe, stored_recipe, task_of_recipe
from ..report.run_files import RunFiles, read_run
from .hardware import Gpu, gpu_called


class Dataset(NamedTuple):
    """A public data set, as its own pages describe it."""

    title: str
    images: int  # for training
    val_images: int
    classes: int
    image_bytes: float  # mean size of a training image's files
    source: str


DATASETS = {
    "imagenet": Dataset(
        "ImageNet-1k", 1_281_167, 50_000, 1000, 147_897_477_120 / 1_281_167, "ILSVRC2012_img_train.tar, 147.9 GB"
    ),
    "ADEChallengeData2016": Dataset(
        "ADE20K", 20_210, 2_000, 150, 967_382_037 / 22_210, "ADEChallengeData2016.zip with masks, 0.97 GB"
    ),
    "coco": Dataset("COCO 2017", 118_287, 5_000, 80, 19_336_861_798 / 118_287, "train2017.zip, 19.3 GB"),
}


class Speed(NamedTuple):
    """That a run was seen to train at, loading of images and all."""

    images_per_second: float  # of one process
    device: str  # as PyTorch calls it
    gpu: Gpu | None  # where it is one that is known

    def __str__(self) -> str:
        return f"{self.images_per_second:,.1f} images/s a process on {self.device}"


@dataclass(frozen=True)
class Subject:
    """One training run, wherever it is to take place."""

    title: str
    recipe: Recipe
    images: int
    val_images: int
    classes: int
    image_bytes: float | None  # mean of a training image's files
    bytes_source: str
    global_batch: int | None  # None where a recipe says how many images a GPU takes, however many there are
    measured: Speed | None = None
    notes: tuple[str, ...] = ()

    def batch_on(self, gpus: int) -> int:
        """Images a GPU and step. Raises TwinsError where the global batch cannot be shared out."""
        if self.global_batch is None:
            assert self.recipe.batch_size is not None
            return self.recipe.batch_size
        shares = gpus * self.recipe.grad_accum_steps
        batch, left = divmod(self.global_batch, shares)
        pairs = mixes_pairs(self.recipe)
        if left or (pairs and batch % 2):
            even = ", an even number for each, since mixup pairs images" if pairs else ""
            raise TwinsError(
                f"--gpus {gpus}: do not share out the global batch of {self.global_batch} images{even}; "
                f"{_numbers_that_do(self.global_batch // self.recipe.grad_accum_steps, gpus, 1 + pairs)}"
            )
        return batch

    def updates(self, gpus: int) -> int:
        """Of an epoch."""
        if self.recipe.steps_per_epoch is not None:
            return self.recipe.steps_per_epoch
        update = self.batch_on(gpus) * self.recipe.grad_accum_steps * gpus
        whole, left = divmod(self.images, update)
        return max(whole + (left > 0 and not self.recipe.drop_last), 1)


def mixes_pairs(recipe: Recipe) -> bool:
    """Whether a batch is mixed, of which each image then needs another."""
    return isinstance(recipe, ClassifyRecipe) and bool(recipe.mixup or recipe.cutmix or recipe.cutmix_minmax)


def subject_of_recipe(
    name: str, task: str | None = None, images: int | None = None, classes: int | None = None
) -> Subject:
    """A recipe by its name or file, on the data set that it names, or on so many images of so many classes.

    Raises TwinsError for a recipe that is not there, and for one of data that nobody knows here.
    """
    recipe = find_recipe(name, task or task_of_recipe(name) or "classify")
    known = DATASETS.get(recipe.data)
    if known is not None and images is None:
        return Subject(
            f"{recipe.name or name} on {known.title}", recipe, known.images, known.val_images, classes or known.classes,
            known.image_bytes, known.source, _global_batch(recipe),
        )  # fmt: skip
    if images is None:
        raise TwinsError(f"--recipe {name}: has no data of its own; pass --images N, and --classes N")
    val_images = round(images * recipe.val_split / (1 - recipe.val_split)) if recipe.val_split < 1 else 0
    title = f"{recipe.name or name} on {images:,} images"
    recipe = recipe.replace(data="images")  # and not the digits, which recipes have where nobody says
    return Subject(title, recipe, images, val_images, classes or 1000, None, "", _global_batch(recipe))


def subject_of_run(folder: Path) -> Subject:
    """A run of `twins train` with its data, its batch and the speed that it had.

    Raises TwinsError for a folder that is no run's, and for a run that had not begun to train.
    """
    run = read_run(folder)
    recipe = stored_recipe(run.recipe, run.task, str(folder / "recipe.json"))
    images = run.setup.get("images", {})
    if not isinstance(images, dict) or not isinstance(images.get("training"), int):
        raise TwinsError(
            f"{folder}: setup.json says of no training images: it is an evaluation, or of an earlier version"
        )
    notes = []
    processes = _processes(str(run.setup.get("device", "")))
    size = _mean_file_size(Path(recipe.data))
    if size is None:
        notes.append(f"{recipe.data} is not here: how many bytes are read is not known")
    assert recipe.batch_size is not None
    return Subject(
        title=f"{folder}: {recipe.model}",
        recipe=recipe,
        images=images["training"],
        val_images=int(images.get("validation", 0)),
        classes=int(run.setup.get("classes", 0)) or 1000,
        image_bytes=size,
        bytes_source=f"files in {recipe.data}",
        global_batch=recipe.batch_size * recipe.grad_accum_steps * processes,
        measured=_speed_of(run, processes),
        notes=tuple(notes),
    )


def _global_batch(recipe: Recipe) -> int | None:
    return recipe.lr_base_size if recipe.batch_size is None else None


def _numbers_that_do(batch: int, wanted: int, least: int) -> str:
    """The next smaller and the next larger number of GPUs that share out a batch, each at least so many images."""
    fit = [n for n in range(1, batch // least + 1) if batch % n == 0 and batch // n % least == 0]
    below = [n for n in fit if n < wanted][-1:]
    above = [n for n in fit if n > wanted][:1]
    return f"{' or '.join(map(str, below + above))} would"


def _processes(device: str) -> int:
    """Of a run, as its setup.json describes the device: "NVIDIA A100, 8 processes"."""
    found = re.search(r", (\d+) processes$", device)
    return int(found[1]) if found else 1


def _speed_of(run: RunFiles, processes: int) -> Speed | None:
    """The median of what `steps.csv` says, which leaves evaluation out, or else of the epochs; None before either."""
    speeds = _column(run.folder / "steps.csv", "images_per_second")
    speeds = speeds or [value for _, value in run.series("images_per_second")]
    if not speeds:
        return None
    device = str(run.setup.get("device", "")).split(",")[0]
    return Speed(statistics.median(speeds) / processes, device, gpu_called(device))


def _column(path: Path, name: str) -> list[float]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def _mean_file_size(data: Path) -> float | None:
    """Bytes of an image in a folder and below; None without the folder, or where it has none."""
    if not data.is_dir():
        return None
    from ..data.folders import images_under

    sizes = [path.stat().st_size for path in images_under(data)]
    return statistics.mean(sizes) if sizes else None
