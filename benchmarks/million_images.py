"""How `twins predict --format` keeps up with the network, what kills leave of its rows, and what memory it takes.

    python benchmarks/million_images.py speed --dtype bf16        # beside the engine alone, a few minutes
    python benchmarks/million_images.py kills --kills 50          # killed and started again: are the rows the same?
    python benchmarks/million_images.py memory --images 100000    # while a job goes on, from its start to its end

Images are JPEG files of 500 x 375 pixels, made first. `speed` times Twins-SVT-S by the CPU engine in alternating blocks
of the same images: decoded before and in memory, in the same batches, and as a job that reads, decodes and writes. The
others run a network of a few thousand parameters, of which it takes less to come to the point; `kills` draws the moment
of each SIGKILL uniformly over the length of a job. Merges a row into benchmarks/million-images-DATE.json and prints it.
"""

from __future__ import annotations

import os
import sys

if "kills" in sys.argv:  # a process with threads must not be forked
    os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import random
import signal
import statistics
import subprocess
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from PIL import Image, ImageFilter

import twins
from dated_results import merge
from twins.cli import main as twins_command
from twins.predict.jobs.columns import all_columns, rows_of
from twins.predict.jobs.network import JobNetwork
from twins.predict.jobs.opening import open_records
from twins.predict.jobs.plan import JobPlan
from twins.predict.jobs.sharded_job import Pace, ShardedJob
from twins.predict.predictors import Predictor

SIZE = (500, 375)
SHAPES = ((12, 16, 3), (375, 500, 3))  # of soft shapes, and of noise
TINY = {"embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "mlp_ratios": (1, 1, 1, 1)}
MOST_KILLS_A_JOB = 30
EVERY = 0.5  # seconds between two looks at memory
KEY = ("measure", "dtype", "decoder", "images", "batch_size")


def make_images(folder: Path, count: int, different: int = 256) -> list[Path]:
    """JPEG files of soft shapes and some noise, as large on disk as photos; links to `different` of them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"{number:07d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        if number >= different:
            os.link(files[number % different], file)
            continue
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)).resize(
            SIZE, Image.Resampling.BICUBIC
        )
        noise = Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8))
        blurred = noise.filter(ImageFilter.GaussianBlur(1))
        Image.blend(coarse, blurred, 0.25).save(file, quality=90)
    return files


def make_weights(file: Path, **settings: Any) -> Path:
    """A classifier of a thousand classes, with fresh weights."""
    torch.manual_seed(0)
    network = twins.create_model("twins_svt_small", **settings)
    meta = {"task": "classify", "name": "twins_svt_small", "create_model": settings, "preprocessing": {"img_size": 224}}
    torch.save(
        {"format": "twins-1", "model": network.state_dict(), "meta": meta | {"classes": [str(i) for i in range(1000)]}},
        file,
    )
    return file


def measure_speed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Medians over blocks by turns of the engine alone, and of a job."""
    make_images(folder / "images", args.images)
    dtype = None if args.dtype == "none" else args.dtype
    network = JobNetwork(str(make_weights(folder / "weights.pth")), "cpu", dtype=dtype, batch_size=args.batch_size,
                         decoder=args.decoder)  # fmt: skip
    predictor = network.load()
    records = open_records([str(folder / "images")])
    rows = rows_of(predictor)
    columns = [column.name for column in all_columns(rows)]
    plan = JobPlan("", "", {}, columns, [], len(records), "", args.format, len(records))
    tensors = [predictor.prepare(image).tensor for _, image in records.between(0, len(records))]
    alone(predictor, tensors[: args.batch_size])
    seconds: dict[str, list[float]] = {"alone": [], "job": []}
    for block in range(args.blocks):
        seconds["alone"].append(alone(predictor, tensors))
        started = time.perf_counter()
        job = ShardedJob(plan, folder / f"out{block}", predictor, rows, records, Pace(args.workers))
        job.write([0], shown=False)
        seconds["job"].append(time.perf_counter() - started)
    speed = {name: args.images / statistics.median(of_blocks) for name, of_blocks in seconds.items()}
    return {
        "workers": args.workers or "default",
        "blocks": args.blocks,
        "alone_images_per_second": round(speed["alone"], 2),
        "job_images_per_second": round(speed["job"], 2),
        "job_over_alone": round(speed["job"] / speed["alone"], 4),
        "read_and_transform_ms": round(1000 * time_of_reading(predictor, folder / "images"), 2),
    }


def alone(predictor: Predictor[Any], tensors: list[torch.Tensor]) -> float:
    """Seconds for all of these in batches."""
    started = time.perf_counter()
    with torch.no_grad():
        for first in range(0, len(tensors), predictor.batch_size):
            batch = tensors[first : first + predictor.batch_size]
            predictor.predict_tensors(batch, [SIZE[::-1]] * len(batch))
    return time.perf_counter() - started


def time_of_reading(predictor: Predictor[Any], folder: Path) -> float:
    """Seconds of one thread for an image."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    files = sorted(folder.iterdir())[:64]
    started = time.perf_counter()
    for file in files:
        predictor.prepare(file)
    torch.set_num_threads(threads)
    return (time.perf_counter() - started) / len(files)


def measure_kills(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Jobs killed again and again, each compared with one that nobody killed."""
    command = small_job(args, folder)
    started = time.perf_counter()
    assert run_forked([*command, "--out", str(folder / "whole")]) == 0
    seconds = time.perf_counter() - started
    expected = rows_in(folder / "whole")
    rng = random.Random(args.seed)
    kills = jobs = identical = 0
    while kills < args.kills:
        out = folder / f"killed{jobs}"
        for attempt in range(MOST_KILLS_A_JOB + 1):
            patience = rng.uniform(0, seconds) if attempt < MOST_KILLS_A_JOB else None
            status = run_forked([*command, "--out", str(out)], patience)
            kills += status < 0
            if status >= 0:
                break
        jobs += 1
        identical += status == 0 and rows_in(out) == expected
    return {"kills": kills, "jobs": jobs, "identical": identical, "rows": len(expected), "seed": args.seed}


def run_forked(argv: list[str], patience: float | None = None) -> int:
    """The exit status of a `twins` command in a process of its own; -9 where it was killed after so many seconds."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
        try:
            status = twins_command(argv)
        except BaseException:  # nothing of it may come back into the copy of this script
            traceback.print_exc()
        finally:
            os._exit(status)
    if patience is not None:
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def rows_in(out: Path) -> list[dict[str, Any]]:
    """All rows of a job, in order."""
    return [row for part in sorted((out / "rows").iterdir()) for row in parquet.read_table(part).to_pylist()]


def measure_memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Resident memory of a job by the time that it has gone on."""
    command = small_job(args, folder)
    started = time.monotonic()
    run = "import sys; from twins.cli import main; sys.exit(main(sys.argv[1:]))"
    samples = []
    with subprocess.Popen([sys.executable, "-c", run, *command, "--out", str(folder / "out")]) as process:
        while process.poll() is None:
            if (folder / "out" / "rows").is_dir():  # from its first row on
                samples += [(time.monotonic() - started, size) for size in resident(process.pid)]
            time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}")
    half = samples[len(samples) // 2 :]
    seconds, megabytes = (np.array(column) for column in zip(*half, strict=True))
    slope = float(np.polyfit(seconds - seconds[0], megabytes, 1)[0])
    return {
        "rows_per_shard": args.rows_per_shard,
        "seconds": round(samples[-1][0], 1),
        "megabytes_at_first": round(samples[0][1], 1),
        "megabytes_at_half": round(half[0][1], 1),
        "megabytes_at_most": round(max(size for _, size in samples), 1),
        "kilobytes_a_second_in_the_second_half": round(1000 * slope, 2),
    }


def resident(process: int) -> list[float]:
    """In MB; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:")]


def small_job(args: argparse.Namespace, folder: Path) -> list[str]:
    """A command of a tiny network on as many images, but for its folder."""
    make_images(folder / "images", args.images)
    weights = make_weights(folder / "weights.pth", **TINY)
    shards = ["--format", args.format, "--rows-per-shard", str(args.rows_per_shard)]
    return [
        "predict",
        str(folder / "images"),
        "--weights",
        str(weights),
        "--device",
        "cpu",
        "--decoder",
        args.decoder,
        *shards,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("measure", choices=("speed", "kills", "memory"))
    parser.add_argument("--images", type=int, default=512, help="images of a job (default: %(default)s)")
    parser.add_argument("--dtype", default="fp32", help="speed: fp32, bf16, int8; none: PyTorch (default: %(default)s)")
    parser.add_argument("--decoder", default="pillow", help="pillow or turbo (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, help="threads that read (default: as `twins predict`)")
    parser.add_argument("--format", default="parquet", help="of rows (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=5, help="speed: of each kind (default: %(default)s)")
    parser.add_argument("--rows-per-shard", type=int, default=32, help="kills, memory: (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=20, help="kills: how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="kills: of their moments (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure = {"speed": measure_speed, "kills": measure_kills, "memory": measure_memory}[args.measure]
        measured = measure(args, Path(folder))
    dtype = args.dtype if args.measure == "speed" else "none"
    used = {"dtype": dtype, "decoder": args.decoder, "batch_size": args.batch_size}
    row = {"measure": args.measure, "images": args.images, **used, **measured}
    merge(args.out, "million-images", [row], KEY)
    for name, value in row.items():
        print(f"{name:32s} {value}")


if __name__ == "__main__":
    main()
