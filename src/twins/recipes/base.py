"""What a recipe is: a frozen dataclass whose fields are, one for one, the flags of `twins train`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Self

from ..errors import TwinsError, nearest
from ..model_names import model_name
from ..preprocessing import IMAGENET_MEAN, IMAGENET_STD
from .durations import check_by, seconds_of, updates_or_seconds
from .fields import (
    NOT_NEGATIVE,
    SHARE,
    SOME,
    TRAIN_DATA,
    TRAIN_EVAL,
    TRAIN_EVAL_DATA,
    TRAIN_EVAL_DATA_PREDICT,
    flag,
)
from .pipes import not_run
from .split import Split
from .values import check_betas, check_device_name, check_path, check_run_name, check_value, hints_of

# The small Twins-SVT that learns the embedded sets on a CPU.
SMALL_SVT = {"embed_dims": (32, 64, 128, 256), "num_heads": (1, 2, 4, 8), "depths": (2, 2, 4, 2)}
_OF_ONE_USE = ("part", "split")  # fields that are not kept with a run

BIT_DEPTH = 16  # of grey images that use all of their range
MAX_MEGAPIXELS = 179.0  # from which on Pillow, left alone, takes an image for an attack


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every task shares: the run, the network, the data, the loop, the optimiser and the schedule.

    Learning rates are for AdamW by default. A field without `flag` is not set on the command line.
    """

    task: str = "classify"
    part: str = "val"  # the images that an evaluation measures: "train", "val" or "test"
    split: Split | None = dataclasses.field(default=None, repr=False)  # of the run that goes on or is evaluated

    name: str | None = flag(
        None, "name of the run's folder; none: the recipe's, or else the network's", group="run", check=check_run_name,
        commands=TRAIN_EVAL, unless_given={"eval": "RUN-eval"},
    )  # fmt: skip
    output: str = flag(
        "runs", "where runs are kept: OUTPUT/TASK/NAME", group="run", check=check_path,
        commands=TRAIN_EVAL_DATA, unless_given={"eval": "runs"},
    )  # fmt: skip
    exist_ok: bool = flag(
        False, "write into the run's folder even if it is there already", group="run", commands=TRAIN_EVAL
    )
    seed: int = flag(0, "all randomness of the run follows from it", group="run", commands=TRAIN_DATA)
    device: str = flag(
        "auto", "auto (the best there is), cuda, cuda:N, mps or cpu", group="run", check=check_device_name,
        commands=TRAIN_EVAL,
    )  # fmt: skip
    workers: int | None = flag(
        None, "processes per rank that load data; none: the cores at hand", "-j", "--num-workers", group="run",
        within=(0, 1024), commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    parallel: str = flag(
        "ddp", "several processes (torchrun) each hold the whole network (ddp), or, where that does not fit, a share "
        "of its weights, gradients and optimiser state (fsdp)", group="run", choices=("ddp", "fsdp"),
    )  # fmt: skip

    save_every: str | None = flag(
        "10m", "save within epochs too, beside training, every so long (90s, 10m, 2h) or so many updates (500); none: "
        "at their ends alone", group="recovery", check=check_by(updates_or_seconds, "--save-every"),
    )  # fmt: skip
    checkpoint_hist: int = flag(
        2, "checkpoints to keep: the newest, and those before it in case it gets damaged; the best one is kept besides",
        group="recovery", within=(1, 1000),
    )  # fmt: skip
    grace: str = flag(
        "10s", "leave so long after SIGTERM or SIGUSR1, at the latest; without saving, if an update takes longer",
        group="recovery", check=check_by(seconds_of, "--grace"),
    )  # fmt: skip
    read_timeout: str = flag(
        "10m", "save and stop if no batch of images has been read for so long", group="recovery",
        check=check_by(seconds_of, "--read-timeout"), commands=TRAIN_EVAL,
    )  # fmt: skip
    dist_timeout: str = flag(
        "5m", "a process of several that takes no part for so long (90s, 5m, 1h) is lost, and the others stop",
        group="recovery", check=check_by(seconds_of, "--dist-timeout"),
    )  # fmt: skip

    track: tuple[str, ...] | None = flag(
        None, "send metrics, plots and settings to these experiment trackers as well; none: to none", group="run",
        choices=("tensorboard", "wandb", "mlflow", "trackio"),
    )  # fmt: skip

    model: str = flag(
        "twins_svt_small", "a network, by any name that `twins info` lists", group="model", check=model_name,
        commands=TRAIN_EVAL,
    )  # fmt: skip
    model_kwargs: dict[str, Any] = flag(
        {}, "departures from the published network, as depths=2,2,4,2 window_size=7 ...", group="model"
    )
    weights: str | None = flag(
        None, "start from the weights in this file, of any dialect; timm: from timm's copy of the published ones; "
        "none: from random ones", "--finetune", group="model", check=check_path,
    )  # fmt: skip
    drop: float = flag(0.0, "dropout probability", group="model", within=SHARE)
    drop_path: float = flag(0.1, "stochastic depth: probability at the last block", group="model", within=SHARE)
    window_padding: str = flag(
        "mask", "how windows that stick out of the map are filled up", group="model",
        choices=("mask", "zero", "mask-both"), commands=TRAIN_EVAL,
    )  # fmt: skip
    freeze_stages: int = flag(
        0, "do not train the first N stages; `backbone`, all 4 of them: only the head learns", "--freeze",
        group="model", within=(0, 4), words={"backbone": 4},
    )  # fmt: skip
    grad_checkpointing: bool = flag(False, "compute blocks again in the backward pass, for less memory", group="model")
    torchcompile: bool = flag(False, "run the network through torch.compile", group="model")

    data: str = flag(
        "digits", "a folder of images, or `digits` for the embedded scans (a folder of that name: ./digits); classify: "
        "or tar shards, as 'train-{000..099}.tar' or 'pipe:curl -sf URL'",
        "--data-path", group="data", check=check_path,
        commands=TRAIN_EVAL_DATA, unless_given={"eval": "the validation images of the checkpoint's run"},
    )  # fmt: skip
    val_split: float = flag(
        0.2, "share of the images for validation, where there is no val folder", group="data", within=SHARE,
        commands=TRAIN_DATA,
    )  # fmt: skip
    bad_images: str = flag(
        "stop", "an unreadable image: stop, or skip and count it", group="data", choices=("stop", "skip"),
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    bit_depth: int = flag(
        BIT_DEPTH, "bits used by grey images that have more than 8: 2^N - 1 is white", group="data", within=(8, 31),
        commands=TRAIN_EVAL_DATA_PREDICT,
    )  # fmt: skip
    max_megapixels: float | None = flag(
        MAX_MEGAPIXELS, "refuse larger images, as unreadable ones, before they fill the memory; none: no limit",
        group="data", within=(0, math.inf), commands=TRAIN_EVAL_DATA_PREDICT,
    )  # fmt: skip
    in_chans: int = flag(3, "input channels: 3 for colour, 1 for grey", group="data", commands=TRAIN_DATA)
    mean: tuple[float, ...] = flag(IMAGENET_MEAN, "mean that images are normalised by", group="data")
    std: tuple[float, ...] = flag(IMAGENET_STD, "standard deviation that images are normalised by", group="data")

    epochs: int = flag(100, "passes over the training images, each with an evaluation", group="loop", within=SOME)
    steps_per_epoch: int | None = flag(
        None, "call so many updates an epoch; none: a pass over the images", group="loop", within=SOME
    )
    batch_size: int | None = flag(
        None, "images per process and step; none: LR_BASE_SIZE over all processes", "-b", group="loop",
        within=SOME,
    )  # fmt: skip
    grad_accum_steps: int = flag(1, "accumulate the gradients of N batches for each update", group="loop", within=SOME)
    repeated_aug: bool = flag(False, "each image three times in a row, a third of them an epoch", group="loop")
    drop_last: bool = flag(False, "leave out the images that do not fill a last batch", group="loop")
    patience: int | None = flag(
        None, "stop after N epochs without a better metric; none: never", group="loop", within=SOME
    )
    log_interval: int = flag(50, "write the loss to steps.csv every N updates", group="loop", within=SOME)
    amp: bool = flag(False, "mixed precision, in training and evaluation", group="loop", commands=TRAIN_EVAL)
    amp_dtype: str = flag(
        "auto", "float16 (scaled losses) or bfloat16; auto: float16 on a GPU", group="loop",
        choices=("auto", "float16", "bfloat16"), commands=TRAIN_EVAL,
    )  # fmt: skip
    clip_grad: float | None = flag(
        5.0, "clip the gradient to this norm; none: do not", group="loop", within=NOT_NEGATIVE
    )
    model_ema: bool = flag(False, "keep and evaluate a moving average of the weights", group="loop")
    model_ema_decay: float = flag(0.9999, "decay of the moving average", group="loop", within=SHARE)

    opt: str = flag("adamw", "optimiser, by timm's name", group="optimiser")
    opt_eps: float | None = flag(
        None, "epsilon of the optimiser; none: its own default", group="optimiser", within=NOT_NEGATIVE
    )
    opt_betas: tuple[float, ...] | None = flag(
        None, "betas of the optimiser; none: its own defaults", group="optimiser", check=check_betas, within=SHARE
    )
    momentum: float = flag(0.9, "momentum of SGD", group="optimiser", within=NOT_NEGATIVE)
    weight_decay: float = flag(0.05, "weight decay", group="optimiser", within=NOT_NEGATIVE)
    decay_on: str = flag(
        "weights",
        "what decays: weights (not norms, biases, positional encodings), all-but-norms (of the backbone, nor "
        "positional encodings), all",
        group="optimiser",
        choices=("weights", "all-but-norms", "all"),
    )
    layer_decay: float | None = flag(
        None, "multiply the learning rate by this for each layer further down; none: the same everywhere",
        group="optimiser", within=SHARE,
    )  # fmt: skip

    lr: float | None = flag(
        None, "peak learning rate itself, whatever the batch; none: by LR_BASE", group="schedule", within=NOT_NEGATIVE
    )
    lr_base: float = flag(
        1e-3,
        "peak learning rate for a global batch of LR_BASE_SIZE; scales with the batch",
        group="schedule",
        within=NOT_NEGATIVE,
    )
    lr_base_size: int = flag(1024, "the global batch that LR_BASE is for", group="schedule", within=SOME)
    sched: str = flag(
        "cosine", "shape of the schedule", group="schedule",
        choices=("cosine", "step", "multistep", "tanh", "poly", "plateau", "constant"),
    )  # fmt: skip
    sched_unit: str = flag("step", "the learning rate changes after each", group="schedule", choices=("epoch", "step"))
    sched_lag: int = flag(0, "epochs that the learning rate runs behind (the published runs: 1)", group="schedule")
    warmup_epochs: float = flag(5, "epochs of linear warm-up", group="schedule", within=NOT_NEGATIVE)
    warmup_steps: int | None = flag(
        None, "updates of warm-up; none: by WARMUP_EPOCHS", group="schedule", within=(0, math.inf)
    )
    warmup_multiplies: bool = flag(
        False, "the warm-up is a factor on the schedule from its first step, not a ramp before it", group="schedule"
    )
    warmup_lr: float = flag(1e-6, "learning rate at the start of the warm-up", group="schedule", within=NOT_NEGATIVE)
    min_lr: float = flag(1e-5, "learning rate at the end", group="schedule", within=NOT_NEGATIVE)
    decay_epochs: float = flag(30, "epochs between drops (step)", group="schedule", within=NOT_NEGATIVE)
    decay_milestones: tuple[int, ...] = flag(
        (), "first epoch of each lower learning rate, counted from 0 (multistep)", group="schedule"
    )
    decay_rate: float = flag(
        0.1, "factor of a drop (step, plateau), or power (poly)", "--dr", group="schedule", within=NOT_NEGATIVE
    )
    patience_epochs: int = flag(
        10, "epochs without a better metric before a drop (plateau)", group="schedule", within=NOT_NEGATIVE
    )
    lr_noise: tuple[float, ...] | None = flag(
        None, "noise on the learning rate between these shares of the run; none: no noise", group="schedule"
    )
    lr_noise_pct: float = flag(
        0.67, "limit of the noise, as a share of the learning rate", group="schedule", within=NOT_NEGATIVE
    )
    lr_noise_std: float = flag(1.0, "standard deviation of the noise", group="schedule", within=NOT_NEGATIVE)

    def __post_init__(self) -> None:
        """Raises TwinsError for a value that its flag would not take, wherever it came from."""
        for field in dataclasses.fields(self):
            self.check_field(field.name, getattr(self, field.name))
        if not len(self.mean) == len(self.std) == self.in_chans:
            raise TwinsError(f"--mean and --std need {self.in_chans} numbers, one a channel (--in-chans)")

    @classmethod
    def check_field(cls, name: str, value: Any) -> None:
        """Raises TwinsError for a value that the field of this name does not take, whatever the others hold."""
        field = cls.__dataclass_fields__[name]
        if field.metadata:
            check_value(field, hints_of(cls)[name], value)

    @property
    def evaluation_batch(self) -> int:
        """Images per process and step in evaluation, which needs less memory than training."""
        return int(1.5 * (self.batch_size or 64))

    @property
    def rank_timeout(self) -> timedelta:
        """How long ranks wait for one that takes no part."""
        return timedelta(seconds=seconds_of(self.dist_timeout))

    def replace(self, **changes: Any) -> Self:
        """A recipe with other values in these fields. Raises TwinsError for values that do not fit."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as recipe.json and checkpoints hold them; `from_dict` reads them back.

        Which part is evaluated, and the split, are none of them: checkpoints keep the split beside the recipe.
        """
        kept = dataclasses.replace(self, split=None)  # its names may be many, and would be copied
        return {name: value for name, value in dataclasses.asdict(kept).items() if name not in _OF_ONE_USE}

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> Self:
        """Read a recipe back; `source` names the file in errors.

        Programs whose output would be the data (`pipe:`) are not run for a file's sake: `not_run` says what becomes of
        them. Raises TwinsError for a field that is not there, and for a value that it does not take.
        """
        known = [f.name for f in dataclasses.fields(cls) if f.name not in _OF_ONE_USE]
        for key in values:
            if key not in known:
                raise TwinsError(f"{source}: unknown field {shortened(key)}{nearest(str(key), known)}")
        if values.get("task", cls.task) != cls.task:
            raise TwinsError(f"{source}: a recipe to {shortened(values['task'])}, not to {cls.task}: pass --task")
        try:
            return cls(**tuples_for_lists(not_run(values)))
        except TwinsError as error:
            raise TwinsError(f"{source}: {error}") from error

    def resolve(self, processes: int) -> Self:
        """Fill in the batch size and the learning rate for so many processes.

        Without a batch size the global batch is the one LR_BASE is stated for, so that a published recipe means the
        published run on any number of processes that divides it.
        """
        batch_size = self.batch_size
        if batch_size is None:
            share = self.lr_base_size // (processes * self.grad_accum_steps)
            batch_size = max(share - share % 2, 1)  # even, since mixup pairs images
        global_batch = batch_size * processes * self.grad_accum_steps
        lr = self.lr_base * global_batch / self.lr_base_size if self.lr is None else self.lr
        return self.replace(batch_size=batch_size, lr=lr)


def tuples_for_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON and argparse give them, with the tuples that a recipe, which does not change, holds for lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def one_number_a_class(wanted: tuple[str, ...], classes: tuple[str, ...]) -> list[float]:
    """The numbers of --class-weights. Raises TwinsError unless there is one for each class."""
    try:
        weights = [float(w) for w in wanted]
    except ValueError as error:
        raise TwinsError(f"--class-weights takes `auto` or numbers: {error}") from error
    if len(weights) != len(classes):
        some = ", ".join(classes[:8]) + (" ..." if len(classes) > 8 else "")
        raise TwinsError(f"--class-weights needs {len(classes)} numbers, one a class ({some})")
    if min(weights) < 0 or not any(weights):
        raise TwinsError("--class-weights must not be negative, nor all 0")
    return weights


def two_positive(flag: str, values: Sequence[float]) -> list[Any]:
    """Both numbers, the smaller first. Raises TwinsError unless there are two and both are positive."""
    if len(values) != 2 or min(values) <= 0:
        raise TwinsError(f"{flag} takes two positive numbers, not {' '.join(map(str, values)) or 'none'}")
    return sorted(values)


def read_json(path: Path) -> dict[str, Any]:
    """The fields in a recipe file. Raises TwinsError if it is no JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TwinsError(f"{path}: not a readable recipe ({error})") from error
    recipe = values.get("recipe", values) if isinstance(values, dict) else values
    if not isinstance(recipe, dict):
        raise TwinsError(f"{path}: a recipe is a JSON object of fields, not {shortened(recipe)}")
    return recipe
