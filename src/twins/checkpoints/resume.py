"""Everything a run needs to go on where it was."""

from __future__ import annotations

import errno
import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..atomic_write import DISK_FULL, atomic_file
from ..errors import TwinsError
from .info import CheckpointInfo, read_info
from .load import load_weights
from .rotation import also_as, keep_earlier
from .schema import check_training_fields
from .seal import SealedWriter, seal_of

FORMAT = "twins-1"


@dataclass
class TrainingState:
    """What changes while a run lasts, and is saved.

    `epoch` epochs are complete, and of the next `step` updates, which saw `samples` images over all ranks.
    """

    model: Any  # a network of ours
    optimizer: torch.optim.Optimizer
    schedule: Any  # a timm scheduler
    scaler: torch.amp.GradScaler
    ema: Any  # timm's moving average of the weights, or None
    epoch: int = 0
    step: int = 0
    samples: int = 0
    global_batch: int = 0  # images an update; 0: nobody says
    training_images: int = 0  # of the whole data set; 0: nobody says
    totals: dict[str, float] = field(default_factory=dict)  # of an interrupted epoch, as EpochTotals packs them
    best: dict[str, Any] = field(default_factory=dict)  # metric, value, epoch

    @property
    def evaluated_model(self) -> Any:
        """The network whose metrics count: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module

    def pack(self, args: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
        """One dictionary of tensors and plain types, which `weights_only=True` reads back.

        `epoch` is the number of the last complete epoch, counted from 0, as in the original's checkpoints.
        """
        return {
            "format": FORMAT,
            "model": self.model.state_dict(),
            "model_ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch - 1,
            "step": self.step,
            "samples": self.samples,
            "global_batch": self.global_batch,
            "training_images": self.training_images,
            "totals": dict(self.totals),
            "best": dict(self.best),
            "rng": _generators(),
            "args": args,
            "meta": meta,
        }

    def restore(self, info: CheckpointInfo) -> None:
        """Take everything back from what `read_training_checkpoint` read, ours or the original's.

        Settings of the optimiser and the schedule stay this run's own, so that a flag given on resuming counts; the
        caller puts the schedule where it was. Raises TwinsError for a checkpoint of another network or optimiser.
        """
        checkpoint, source = info.checkpoint, info.source
        report = load_weights(self.model, checkpoint, name=source)
        for name in (*report.missing, *report.reshaped):
            raise TwinsError(f"{source}: {name} does not fit this run's network; start a new run with it as --weights")
        saved = checkpoint["optimizer"]
        states = saved["state"]
        if checkpoint.get("format") != FORMAT:
            states = _in_our_order(states, list(checkpoint["model"]), self.model, self.optimizer)
        self._restore_optimizer(states, saved["param_groups"], source)
        if checkpoint.get("scaler"):
            self.scaler.load_state_dict(checkpoint["scaler"])
        if self.ema is not None and checkpoint.get("model_ema"):
            self.ema.module.load_state_dict(checkpoint["model_ema"])
        self.epoch = checkpoint["epoch"] + 1
        self.step = checkpoint.get("step", 0)
        self.totals, self.best = _totals(checkpoint), _best(checkpoint)
        self.samples = _samples(checkpoint, self.totals)
        if self.step and not self.samples:
            raise TwinsError(
                f"{source}: stopped within epoch {self.epoch} without saying how many of its images it had seen; "
                "pass it as --weights"
            )
        self.training_images = checkpoint.get("training_images", 0)
        self.global_batch = checkpoint.get("global_batch") or (self.samples // self.step if self.step else 0)
        if "rng" in checkpoint:
            _restore_generators(checkpoint["rng"])

    def _restore_optimizer(self, states: dict[int, Any], groups: list[dict[str, Any]], source: str) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        sizes = [[len(group["params"]) for group in some] for some in (groups, self.optimizer.param_groups)]
        averages = {i: state.get("exp_avg") for i, state in states.items()}
        fits = sizes[0] == sizes[1] and all(t is None or t.shape == parameters[i].shape for i, t in averages.items())
        if not fits:
            raise TwinsError(
                f"{source}: its optimiser state does not fit this run's flags (--layer-decay, --freeze-stages ...); "
                "resume with those it was trained with, or pass it as --weights"
            )
        ours = self.optimizer.state_dict()
        ours["state"] = states
        for group, theirs in zip(ours["param_groups"], groups, strict=False):
            group["lr"] = theirs["lr"]  # where a plateau had brought it; other schedules set it anew
        self.optimizer.load_state_dict(ours)


def save_checkpoint(checkpoint: dict[str, Any], path: Path, keep: int = 0, also: Path | None = None) -> None:
    """Replace a checkpoint atomically by one that is sealed, and has been compared with its seal.

    `keep` earlier ones stay beside it, and `also` names the new one too; both have their names before it has its own,
    so that whoever finds it finds them. Raises TwinsError where it cannot be written; then each of these names is still
    that of a whole checkpoint, the one before or this one.
    """

    def name_others(beside: Path) -> None:
        if also is not None:
            also_as(beside, also)
        keep_earlier(path, keep)

    go_on = f"free some space; the one before is whole: twins train --resume {path}" if _is_there(path) else DISK_FULL
    with atomic_file(path, go_on, before=name_others) as beside:
        _write_sealed(checkpoint, beside)


def _is_there(path: Path) -> bool:
    """Also where the disk does not say."""
    try:
        return path.exists()
    except OSError:
        return False


def _write_sealed(checkpoint: dict[str, Any], path: Path) -> None:
    """Raises OSError where it cannot be written, or reads back otherwise than it was written."""
    with path.open("wb") as file:
        sealed = SealedWriter(file)
        try:
            torch.save(checkpoint, sealed)  # type: ignore[arg-type]  # which needs no more of a file than `write`
        except RuntimeError as error:
            raise sealed.error or error from error
        sealed.seal()
    with path.open("rb") as file:
        if seal_of(file) != "whole":
            raise OSError(errno.EIO, "it reads back otherwise than it was written")


def read_training_checkpoint(source: str | os.PathLike[str] | CheckpointInfo) -> CheckpointInfo:
    """A checkpoint to resume: a file, or what `read_info` made of it.

    Raises TwinsError for a file that is broken or holds weights alone.
    """
    info = read_info(source)
    if not holds_training_state(info):
        raise TwinsError(f"{info.source}: weights without optimiser state cannot be resumed; pass it as --weights")
    check_training_fields(info.checkpoint, info.source)
    return info


def holds_training_state(info: CheckpointInfo) -> bool:
    """Whether a checkpoint can be resumed, ours or the original's."""
    return isinstance(info.checkpoint.get("optimizer"), dict)


def _totals(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """The running totals of the interrupted epoch; earlier checkpoints call them `under_way`, and images `count`."""
    totals = checkpoint.get("totals") or checkpoint.get("under_way") or {}
    return {"images" if name == "count" else name: value for name, value in totals.items()}


def _samples(checkpoint: Mapping[str, Any], totals: Mapping[str, float]) -> int:
    """Images of the interrupted epoch that were seen; earlier checkpoints tell by their totals alone."""
    images = totals.get("images", 0)
    counted = round(images) if math.isfinite(images) else 0
    return int(checkpoint.get("samples") or max(counted, 0))


def _best(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The best epoch so far; earlier checkpoints call its metric `figure`."""
    return {"metric" if name == "figure" else name: value for name, value in checkpoint.get("best", {}).items()}


def _generators() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def _restore_generators(saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"].cpu())
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = saved["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


def _in_our_order(
    states: dict[int, Any], names: list[str], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[int, Any]:
    """The original's optimiser state, which counts parameters in another order, counted in ours.

    It has two groups, without and with weight decay, each in the order in which its model registered parameters: the
    order of the checkpoint's own state dict.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    undecayed = [n for n in names if len(shapes[n]) <= 1 or n.startswith("pos_block.")]
    decayed = [n for n in names if n not in set(undecayed)]
    theirs = {name: index for index, name in enumerate(undecayed + decayed)}
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    ours = (p for group in optimizer.param_groups for p in group["params"])
    return {i: states[theirs[name_of[p]]] for i, p in enumerate(ours) if theirs[name_of[p]] in states}
