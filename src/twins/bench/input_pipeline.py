"""From JPEG files to a normalised batch: our two input pipelines and the original's, by turns on one core.

The original's is torchvision's ImageFolder, which decodes by Pillow, and the transforms of timm and torchvision. Times
are CPU time, so that other work on the core does not count; the files are in memory anyway.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from ..data.classify.transforms import fix_posterize
from ..data.loading import make_loader
from ..data.randomness import keyed_randomness
from ..data.sampling import EvaluationSampler, SampleKey, TrainingSampler
from ..optional_dependencies import need
from ..preprocessing import ClassifyPreprocessing
from ..recipes import ClassifyRecipe, find_recipe
from ..tasks import make_task
from ..timing import Pace, alternate
from .parity import Parity
from .photographs import write_photographs
from .plan import Case
from .rows import Row, row_of, speed_row

THEIRS = "timm and ImageFolder"
OURS = {"twins pillow": "pillow", "twins turbo": "turbo"}
BOUND = 1.0  # of 255: mean difference from the original's pixels
_ROUNDS = 5  # over all files, to time the stages and to compare random transforms


class InputPipeline(NamedTuple):
    """One way to read the files."""

    title: str
    one: Callable[[int, int], Tensor]  # the normalised image at an index, in an epoch
    batch: Callable[[], object]  # all files, normalised
    read: Callable[[int], Any]
    steps: Sequence[Callable[[Any], Any]]  # of the transform


def measure_pipeline(case: Case, pace: Pace, folder: Path) -> tuple[list[Row], bool]:
    """Rows of all pipelines, timed by turns, and whether Ctrl-C stopped it; none whose pixels differ is timed."""
    recipe = find_recipe("twins_svt_small").replace(data=str(folder), workers=0)
    assert isinstance(recipe, ClassifyRecipe)
    training = case.network == "training"
    files = write_photographs(folder, case.size)
    pipelines = [_original(recipe, training), *(_ours(title, recipe, training) for title in OURS)]
    parities = {pipeline.title: _parity(pipeline, pipelines[0], files, training) for pipeline in pipelines}
    times: dict[str, list[float]] = {}
    stopped = False
    try:
        calls = {pipeline.title: pipeline.batch for pipeline in pipelines if parities[pipeline.title].holds}
        alternate(calls, pace, times, clock=time.process_time)
    except KeyboardInterrupt:
        stopped = True
    rows = []
    for pipeline in pipelines:
        row, blocks = row_of(case, pipeline.title), times.get(pipeline.title, [])
        row = speed_row(row, parities[pipeline.title], blocks, files, peak=None, flops=0.0)
        rows.append(row | {f"{stage}_ms": ms for stage, ms in _stages(pipeline, files, training).items()})
    for row in rows:
        if {"images_per_second"} <= row.keys() & rows[0].keys():
            row["speedup_over_timm"] = row["images_per_second"] / rows[0]["images_per_second"]
    return rows, stopped


def _original(recipe: ClassifyRecipe, training: bool) -> InputPipeline:
    """As the original's `datasets.py` puts it together."""
    if training:
        transform = need("timm.data", extra="train").create_transform(
            input_size=recipe.size, is_training=True, color_jitter=recipe.color_jitter, auto_augment=recipe.aa,
            interpolation="bicubic", re_prob=recipe.reprob, re_mode=recipe.remode, re_count=recipe.recount,
        )  # fmt: skip
        fix_posterize(transform.transforms)
    else:
        transform = transforms.Compose(
            [
                transforms.Resize(int(256 / 224 * min(recipe.size)), transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(recipe.size),
                transforms.ToTensor(),
                transforms.Normalize(recipe.mean, recipe.std),
            ]
        )
    folder = ImageFolder(str(Path(recipe.data, "train" if training else "val")), transform)
    loader: DataLoader[Any] = DataLoader(folder, batch_size=len(folder))

    def one(index: int, epoch: int) -> Tensor:
        with keyed_randomness("sample", recipe.seed, epoch, index, 0):
            return folder[index][0]

    def read(index: int) -> Any:
        return folder.loader(folder.samples[index][0])

    return InputPipeline(THEIRS, one, lambda: next(iter(loader)), read, transform.transforms)


def _ours(title: str, recipe: ClassifyRecipe, training: bool) -> InputPipeline:
    train, val = make_task(recipe.replace(decoder=OURS[title])).datasets()
    dataset = train if training else val
    assert dataset is not None
    files = len(dataset)
    sampler = TrainingSampler(files, files, recipe.seed, 0, 1, drop_last=False)
    loader = make_loader(
        dataset, sampler if training else EvaluationSampler(files, 0, 1), files, 0, torch.device("cpu")
    )
    epochs = count()

    def batch() -> object:
        sampler.set_epoch(next(epochs))
        return next(iter(loader))

    def one(index: int, epoch: int) -> Tensor:
        return dataset[SampleKey(index, epoch)].image

    def read(index: int) -> Any:
        return dataset.images.read(index, channels=3)[0]

    steps: Any = dataset.transform
    return InputPipeline(title, one, batch, read, steps.transform.transforms)


def _parity(pipeline: InputPipeline, original: InputPipeline, files: int, training: bool) -> Parity:
    """The mean difference of pixels, of 255: in evaluation that of the worst image, in training over all views.

    In training all get the same random numbers: a pipeline that uses them differently is tens of 255 away.
    """
    std = torch.tensor(ClassifyPreprocessing().std)[:, None, None]
    views = [(index, epoch) for index in range(files) for epoch in range(_ROUNDS if training else 1)]
    differences = [float(((pipeline.one(*view) - original.one(*view)) * std).abs().mean() * 255) for view in views]
    return Parity(statistics.mean(differences) if training else max(differences), BOUND)


def _stages(pipeline: InputPipeline, files: int, training: bool) -> dict[str, float]:
    """Milliseconds an image of each stage. `turbo` only opens a file at first, and decodes when it crops."""
    seconds: dict[str, float] = defaultdict(float)
    for index in [*range(files)] * _ROUNDS:
        started = time.process_time()
        image = pipeline.read(index)
        for number, step in enumerate([None, *pipeline.steps]):
            image = step(image) if step else image
            stage = "tensor" if isinstance(image, Tensor) else "augment" if number > 1 and training else "crop"
            now = time.process_time()
            seconds["read" if step is None else stage] += now - started
            started = now
    return {stage: 1000 * total / (files * _ROUNDS) for stage, total in seconds.items()}
