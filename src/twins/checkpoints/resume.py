"""Everything a run needs to go on where it was, written so that a crash never leaves half a file."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import TwinsError
from .load import load_weights
from .read import read_checkpoint

FORMAT = "twins-1"


@dataclass
class TrainingState:
    """The moving parts of a run. `epoch` epochs are complete, and `step` steps of the one after them."""

    model: Any  # a network of ours
    optimizer: torch.optim.Optimizer
    schedule: Any  # a timm scheduler
    scaler: torch.amp.GradScaler
    ema: Any  # timm's moving average, or None
    epoch: int = 0
    step: int = 0
    under_way: dict[str, float] = field(
        default_factory=dict
    )  # sums of the epoch that is not complete, and its first rate
    best: dict[str, Any] = field(default_factory=dict)

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
            "under_way": dict(self.under_way),
            "best": dict(self.best),
            "rng": _generators(),
            "args": args,
            "meta": meta,
        }

    def restore(self, checkpoint: dict[str, Any], source: str) -> None:
        """Take everything back from what `read_training_checkpoint` read, ours or the original's.

        Settings of the optimiser and the schedule stay this run's own, so that a flag given on resuming counts; the
        caller puts the schedule where it was. Raises TwinsError for a checkpoint of another network or optimiser.
        """
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
        self.under_way = dict(checkpoint.get("under_way", {}))
        self.best = dict(checkpoint.get("best", {}))
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


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write beside the target, then put in its place: at any moment the file is the old one or the new one."""
    beside = path.with_name(path.name + ".part")
    try:
        torch.save(checkpoint, beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise TwinsError(f"{path}: cannot be written ({error.strerror}); is the disk full?") from error


def read_training_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint to resume. Raises TwinsError for a file that is broken or holds weights alone."""
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint.get("optimizer"), dict):
        raise TwinsError(f"{path}: weights without optimiser state cannot be resumed; pass it as --weights")
    return checkpoint


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
    place_of = {name: place for place, name in enumerate(undecayed + decayed)}
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    ours = (p for group in optimizer.param_groups for p in group["params"])
    return {i: states[place_of[name_of[p]]] for i, p in enumerate(ours) if place_of[name_of[p]] in states}
