"""The whole of a job: known again in its folder, gone on with, and said to be finished."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...optional_dependencies import need
from ...progress import per_second
from ...run_lock import only_run_in
from ...shown_text import shown
from ..folder import say_what_predicts
from ..writers import many
from .columns import all_columns, rows_of
from .folder import ROWS, claim, clear_unfinished, shards_left, usual_folder
from .network import JobNetwork
from .plan import FORMATS, ROWS_PER_SHARD, JobPlan, weights_digest
from .ray_cluster import write_on_cluster
from .records import ImageRecords
from .sharded_job import USUAL_PACE, Pace, ShardedJob, images_in


@dataclass(frozen=True)
class Shards:
    """How rows are written: in which format, one of FORMATS, and how many a shard."""

    file_format: str = FORMATS[0]
    rows: int = ROWS_PER_SHARD


USUAL_SHARDS = Shards()


def write_rows(
    network: JobNetwork,
    records: ImageRecords,
    sources: Sequence[str],
    shards: Shards = USUAL_SHARDS,
    folder: Path | None = None,
    exist_ok: bool = False,
    pace: Pace = USUAL_PACE,
    ray: str | None = None,
) -> Path:
    """Write the rows of all images in shards, those that are not there yet, and print how that goes.

    Parameters
    ----------
    network:
        What predicts, or gives features.
    records:
        The images, of `open_records`.
    sources:
        Where they are, in words: for messages.
    folder:
        By default the first of runs/predict/NAME, NAME2 ... that is free or has this job in it.
    exist_ok:
        Write into the folder even if something is in it that is no job.
    pace:
        How many threads read, and what becomes of unreadable images.
    ray:
        "auto" or the address of a Ray cluster that is to write the shards.

    Returns the folder. Whatever stops the process, the same call goes on with the shards that are left, and a job that
    is finished stays as it is. Raises TwinsError for a network, sources or a folder that cannot be used, for an
    unreadable image unless these get rows, and where another process is at work in the folder.
    """
    if shards.file_format == "parquet":
        need("pyarrow.parquet", extra="parquet")  # before anything takes time
    if ray is not None:
        need("ray", extra="ray")
    predictor = network.load()
    rows = rows_of(predictor, network.embed or "float32")
    plan = JobPlan(
        weights=network.weights,
        weights_sha256=weights_digest(network.weights),
        settings=network.facts(),
        columns=[column.name for column in all_columns(rows)],
        sources=list(sources),
        images=len(records),
        images_sha256=records.digest(),
        file_format=shards.file_format,
        rows_per_shard=shards.rows,
    )
    out = usual_folder(Path("runs", "predict"), predictor.name, plan) if folder is None else folder
    claim(out, plan, exist_ok)
    with only_run_in(out, "--out") as note:
        if note:
            print(shown(note), flush=True)
        clear_unfinished(out, plan)
        if left := shards_left(out, plan):
            _say_what_is_left(plan, out, left)
            say_what_predicts(predictor)
            _write(ShardedJob(plan, out, predictor, rows, records, pace), network, left, ray)
        else:
            print(shown(f"{out}: this job is finished"))
    print(shown(f"{many(plan.images, 'row')} in {many(plan.shards, 'shard')}: {out / ROWS}"), flush=True)
    return out


def _write(job: ShardedJob, network: JobNetwork, left: Sequence[int], ray: str | None) -> None:
    started = time.perf_counter()
    if ray is None:
        job.write(left)
    else:
        write_on_cluster(job, network, left, ray)
    images = images_in(job.plan, left)
    speed = per_second(images / (time.perf_counter() - started))
    bad = f"; {many(job.unreadable, 'unreadable image')}: see the column error" if job.unreadable else ""
    print(f"{many(images, 'image')}, {speed} a second{bad}", flush=True)


def _say_what_is_left(plan: JobPlan, out: Path, left: Sequence[int]) -> None:
    done = plan.shards - len(left)
    there = f"{done} of {many(plan.shards, 'shard')} are there; " if done else ""
    print(shown(f"{there}{many(images_in(plan, left), 'image')} to predict, rows to {out / ROWS}"), flush=True)
