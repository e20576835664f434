"""What is planned: a recipe on the data set that it names, or a run on its own data, with what is known of both."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import TwinsError
from ..recipes import ClassifyRecipe, Recipe, find_recipe, stored_recipe, task_of_recipe
from ..report.run_files import RunFiles, as_number, read_run, read_table
from .hardware import MOST_GPUS, Gpu, gpu_called


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
    processes = _processes(str(run.setup.get("device", "")))
    recipe = stored_recipe(run.recipe, run.task, str(folder / "recipe.json")).resolve(processes)
    images = run.setup.get("images")
    training, val = (_count(images.get(part)) if isinstance(images, dict) else 0 for part in ("training", "validation"))
    if not training:
        raise TwinsError(
            f"{folder}: setup.json says of no training images: it is an evaluation, or of an earlier version"
        )
    notes = []
    size = _mean_file_size(Path(recipe.data))
    if size is None and recipe.data != "digits":
        notes.append(f"{recipe.data} is not here: how many bytes are read is not known")
    assert recipe.batch_size is not None
    return Subject(
        title=f"{folder}: {recipe.model}",
        recipe=recipe,
        images=training,
        val_images=val,
        classes=_count(run.setup.get("classes")) or 1000,
        image_bytes=size,
        bytes_source=f"files in {recipe.data}",
        global_batch=recipe.batch_size * recipe.grad_accum_steps * processes,
        measured=_speed_of(run, processes),
        notes=tuple(notes),
    )


def _count(value: Any) -> int:
    """A number in a file that says how many there are; 0 for anything else."""
    return value if isinstance(value, int) and value > 0 else 0


def _global_batch(recipe: Recipe) -> int | None:
    return recipe.lr_base_size if recipe.batch_size is None else None


def _numbers_that_do(batch: int, wanted: int, least: int) -> str:
    """The next smaller and the next larger number of GPUs that share out a batch, each at least so many images."""

    def fits(gpus: int) -> bool:
        return batch % gpus == 0 and batch // gpus >= least and batch // gpus % least == 0

    below = next(filter(fits, range(wanted - 1, 0, -1)), None)
    above = next(filter(fits, range(wanted + 1, MOST_GPUS + 1)), None)
    found = [str(gpus) for gpus in (below, above) if gpus is not None]
    return f"{' or '.join(found)} would" if found else "another --batch-size would"


def _processes(device: str) -> int:
    """Of a run, as its setup.json describes the device: "NVIDIA A100, 8 processes"."""
    found = re.search(r", (\d+) processes$", device)
    return int(found[1]) if found else 1


def _speed_of(run: RunFiles, processes: int) -> Speed | None:
    """The median of what `steps.csv` says, which leaves evaluation out, or else of the epochs; None before either."""
    steps, column = read_table(run.folder / "steps.csv"), "images_per_second"
    numbers = map(as_number, steps.column(column) if column in steps.columns else [])
    speeds = [number for number in numbers if number is not None and number > 0]
    speeds = speeds or [value for _, value in run.series(column) if value > 0]
    if not speeds:
        return None
    device = str(run.setup.get("device", "")).split(",")[0]
    return Speed(statistics.median(speeds) / processes, device, gpu_called(device))


def _mean_file_size(data: Path) -> float | None:
    """Bytes of an image in a folder and below; None without the folder, or where it has none."""
    if not data.is_dir():
        return None
    from ..data.folders import images_under

    sizes = [path.stat().st_size for path in images_under(data)]
    return statistics.mean(sizes) if sizes else None
