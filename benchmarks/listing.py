"""A million files in a thousand folders: how long until a run knows them, and how much memory a rank takes for them.

python benchmarks/listing.py [--files 1000000] [--folders 1000] [--in /dev/shm] [--ranks 2]     # some minutes

Makes the files (hard links to tiny JPEG files, as fast as a disk allows), measures each case in processes of their own,
prints the results, writes them to benchmarks/listing-DATE.json, and removes the files. A case is what every command
does first: find all files and their labels, and hand them to the other ranks.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from PIL import Image

from twins.progress import Progress

CASES = ("first", "kept", "kept, one folder changed")


def make_files(root: Path, files: int, folders: int) -> None:
    """`files` for training and one a folder for validation, all dated an hour back, as data that lies there is."""
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16)).save(jpeg, "JPEG")
    hour_ago = time.time_ns() - 3600 * 10**9
    for number in Progress("making files", folders).over(range(folders)):
        for part, count in (("train", files // folders), ("val", 1)):
            folder = root / part / f"class_{number:04d}"
            folder.mkdir(parents=True)
            first = folder / f"image_{number:04d}_000000.jpg"
            first.write_bytes(jpeg.getvalue())
            for image in range(1, count):
                os.link(first, folder / f"image_{number:04d}_{image:06d}.jpg")
            os.utime(folder, ns=(hour_ago, hour_ago))


def memory() -> dict[str, float]:
    """Of this process, in MB: what it holds, and the most that it has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith("kB")}
    return {"mb": round(values["VmRSS"]), "peak_mb": round(values["VmHWM"])}


def measure(root: str, output: str) -> None:
    """Open the data as a rank does, and print what it took as a line of JSON."""
    from twins.data.classify.layouts import open_labelled
    from twins.data.opening import open_once
    from twins.distributed.world import init_distributed
    from twins.recipes import ClassifyRecipe

    recipe = ClassifyRecipe(data=root, output=output)
    with init_distributed("cpu") as world:
        before, started, busy = memory()["mb"], time.perf_counter(), time.process_time()
        train, val = open_once(recipe, partial(open_labelled, recipe))
        seconds, cpu = time.perf_counter() - started, time.process_time() - busy
        assert train is not None
        row = {"rank": world.rank, "images": len(train) + len(val), "seconds": round(seconds, 2)}
        row["cpu_seconds"] = round(cpu, 2)
        sys.stdout.write(f"{json.dumps(row | memory() | {'mb_before': before})}\n")  # at once: ranks share the pipe
        sys.stdout.flush()


def rows_of(case: str, ranks: int, root: Path, output: Path) -> list[dict[str, object]]:
    if case == "kept, one folder changed":
        (root / "train/class_0000/new.jpg").touch()
    elif case == "first":
        shutil.rmtree(output, ignore_errors=True)
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    program = subprocess.run(
        [*start, __file__, "--measure", str(root), str(output)], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in program.stdout.splitlines() if line.startswith("{")]
    return [{"case": case, "ranks": ranks, **row} for row in sorted(rows, key=lambda row: row["rank"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--in", dest="where", default=tempfile.gettempdir())
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--measure", nargs=2, metavar=("ROOT", "OUTPUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(*args.measure)
        return
    with tempfile.TemporaryDirectory(dir=args.where) as folder:
        root, output = Path(folder, "data"), Path(folder, "runs")
        make_files(root, args.files, args.folders)
        rows = [row for case in CASES for ranks in (1, args.ranks) for row in rows_of(case, ranks, root, output)]
        kept = sum(file.stat().st_size for file in output.rglob("*.jsonl"))
    for row in rows:
        times = f"{row['seconds']:6.2f} s ({row['cpu_seconds']:.2f} s of CPU)"
        memories = f"{row['mb']} MB ({row['mb_before']} before, {row['peak_mb']} at most)"
        print(f"{row['case']:26}{row['ranks']} ranks, rank {row['rank']}: {times}, {memories}")
    print(f"the list takes {kept / 1e6:.0f} MB")
    result = {
        "machine": {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "files": args.files, "folders": args.folders, "kept_bytes": kept, "rows": rows,
    }  # fmt: skip
    path = Path(__file__).with_name(f"listing-{time.strftime('%Y-%m-%d')}.json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
