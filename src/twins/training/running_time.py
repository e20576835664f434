"""How long a run on a CPU will take, judged by its first updates, and which settings make a shorter one."""

from __future__ import annotations

from typing import Any

from ..progress import clock
from ..recipes import Recipe

LONG = 20 * 60  # seconds: a run that takes longer is told how to be a shorter one
FEWEST_EPOCHS = 5
LEAST_SIDE = {"classify": 64, "segment": 128, "detect": 256}  # below which networks of this kind see little


def forecast(recipe: Recipe, seconds: float, updates: int, fresh: bool) -> list[str]:
    """Lines for a run that has so many updates left, each of so many seconds; none if that is not long.

    A run that is not `fresh` keeps its number of epochs.
    """
    total = seconds * updates
    if total <= LONG:
        return []
    settings, shorter = shorter_run(recipe, total, fresh)
    lines = [f"at {clock(seconds)} an update the run takes {clock(total)} on this CPU, evaluation not counted"]
    if settings:
        lines.append(f"  the same command with {' '.join(settings)} takes about {clock(shorter)}")
    if recipe.weights and recipe.freeze_stages < 4:
        lines.append("  --freeze backbone trains the head alone, without a backward pass through the network")
    elif not recipe.weights and not recipe.model.endswith("small"):
        lines.append("  --model twins_svt_small is a smaller network")
    return lines


def shorter_run(recipe: Recipe, total: float, fresh: bool) -> tuple[list[str], float]:
    """Flags that bring a run of `total` seconds near LONG, and the seconds that it takes then.

    Time goes with the area of the images, as all but small parts of the network do, and with the epochs.
    """
    fields: dict[str, Any] = recipe.to_dict()
    flags = []
    side = smaller = fields["img_size"]
    if isinstance(side, int) and not fields.get("train_sizes"):  # which decide instead of it
        while total > LONG and smaller // 64 * 32 >= LEAST_SIDE[recipe.task]:
            total *= (smaller // 64 * 32 / smaller) ** 2
            smaller = smaller // 64 * 32
    if smaller != side:
        flags.append(f"--img-size {smaller}")
    epochs = max(int(recipe.epochs * LONG / total), FEWEST_EPOCHS)
    if fresh and epochs < recipe.epochs:
        flags.append(f"--epochs {epochs}")
        total *= epochs / recipe.epochs
    return flags, total
