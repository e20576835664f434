"""What a checkpoint within an epoch costs: how long training waits, and how much slower it is meanwhile.

    python benchmarks/checkpoint_cost.py                              # Twins-SVT-S, a few minutes of two cores
    python benchmarks/checkpoint_cost.py --model twins_svt_large --batch-size 2

Trains on noise, with AdamW and a moving average of the weights, by blocks of updates of which every second has a
checkpoint written beside it. Adds a row to benchmarks/checkpoint-cost-DATE.json and prints it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import twins
from twins.atomic_write import atomic_file
from twins.bench.machine import describe_machine, versions
from twins.checkpoints.resume import TrainingState
from twins.recipes import ClassifyRecipe
from twins.training.checkpoint_writer import CheckpointWriter
from twins.training.setup import fresh_state


def make_state(model: str) -> TrainingState:
    torch.manual_seed(0)
    recipe = ClassifyRecipe(model=model, model_ema=True).resolve(1)
    return fresh_state(recipe, twins.create_model(model), torch.device("cpu"), updates_per_epoch=100)


def update(state: TrainingState, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Seconds of one update."""
    started = time.perf_counter()
    torch.nn.functional.cross_entropy(state.model(images), labels).backward()
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.ema.update(state.model)
    return time.perf_counter() - started


def measure(model: str, batch_size: int, saves: int, folder: Path) -> dict[str, Any]:
    """A row: alternately, updates while a checkpoint is written, and as many while none is."""
    state, path = make_state(model), folder / "checkpoint.pth"
    images, labels = torch.randn(batch_size, 3, 224, 224), torch.randint(1000, (batch_size,))
    update(state, images, labels)  # makes the optimiser's state
    update(state, images, labels)
    beside: list[float] = []
    alone: list[float] = []
    until_written: list[float] = []
    with CheckpointWriter(keep=1) as writer:
        for _ in range(saves):
            started = time.perf_counter()
            writer.save(lambda: state.pack({}, {}), path)
            block = [update(state, images, labels)]
            while not writer.is_idle():
                block.append(update(state, images, labels))
            until_written.append(time.perf_counter() - started)
            beside += block
            alone += [update(state, images, labels) for _ in block]
        blocked = writer.blocked
    return {
        "model": model,
        "batch_size": batch_size,
        "saves": saves,
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "blocked_seconds_median": round(statistics.median(blocked), 3),
        "blocked_seconds_most": round(max(blocked), 3),
        "until_written_seconds_median": round(statistics.median(until_written), 2),
        "update_seconds_alone": round(statistics.median(alone), 3),
        "update_seconds_beside": round(statistics.median(beside), 3),
        "share_of_a_run_saving_every_10m": round(_lost(blocked, beside, alone, saves) / 600, 5),
    }


def _lost(blocked: list[float], beside: list[float], alone: list[float], saves: int) -> float:
    """Seconds of training that a checkpoint costs: for which it was blocked, and by which updates took longer."""
    return statistics.mean(blocked) + max(0.0, sum(beside) - sum(alone)) / saves


def main() -> None:
    parser = argparse.ArgumentParser(description="What a checkpoint within an epoch costs.")
    parser.add_argument("--model", default="twins_svt_small", help="which network (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="images an update (default: %(default)s)")
    parser.add_argument("--saves", type=int, default=10, help="checkpoints to write (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = measure(args.model, args.batch_size, args.saves, Path(folder)) | {"versions": versions()}
    path = args.out / f"checkpoint-cost-{time.strftime('%Y-%m-%d')}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = [other for other in rows if other["model"] != row["model"]] + [row]
    with atomic_file(path) as beside:
        beside.write_text(json.dumps({"machine": describe_machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    for name, value in row.items():
        print(f"{name:32s} {value}")


if __name__ == "__main__":
    main()
