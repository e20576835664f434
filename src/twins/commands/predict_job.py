"""`twins predict --format`: the predictions for very many images, as rows in shards; stopped, it goes on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import TwinsError
from ..recipes.classify import DECODERS
from ..shown_text import shown
from .numbers import whole_number

FORMATS = ("parquet", "csv")
EMBED_DTYPES = ("float32", "float16")
ROWS_PER_SHARD = 10_000
STDIN = "-"
SUFFIXES_OF_JOBS = (".txt", ".tar", ".parquet", ".pq")  # of sources that are no images


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    """Those that count with --format; each is None, or absent, unless it is given."""
    group = parser.add_argument_group(
        "very many images",
        "With --format the sources may also be lists of images (FILE.txt, a path a line; - is the standard input), tar "
        "shards (shard-{000..099}.tar) and Parquet files, or folders of these; of one kind at a time. Rows are written "
        "in shards as they come, and the same command goes on where a job was stopped.",
    )
    group.add_argument("--format", choices=FORMATS, help="write rows in shards of this format, and draw nothing")
    group.add_argument(
        "--rows-per-shard", type=whole_number(1), metavar="N", help=f"images a shard (default: {ROWS_PER_SHARD})"
    )
    group.add_argument("--embed", action="store_true", default=None,
                       help="the features under the heads, pooled, in place of predictions; in Parquet")  # fmt: skip
    group.add_argument("--embed-dtype", choices=EMBED_DTYPES, help=f"of features (default: {EMBED_DTYPES[0]})")
    group.add_argument("--image-column", metavar="NAME", help="of Parquet files: the bytes of images (default: image, "
                       "jpg, png, bytes ..., whichever is there)")  # fmt: skip
    group.add_argument("--name-column", metavar="NAME", help="of Parquet files: what images are called (default: path, "
                       "file_name, __key__ ..., or else by the rows' numbers)")  # fmt: skip
    group.add_argument("--batch-size", type=whole_number(1), metavar="N", help="classifiers: images that the network "
                       "sees together (default: 16)")  # fmt: skip
    group.add_argument("--decoder", choices=DECODERS, help="classifiers: turbo reads JPEG files in half the time, with "
                       "pixels that differ by less than 1 of 255 on average (default: pillow)")  # fmt: skip
    group.add_argument("--workers", type=whole_number(1), metavar="N", help="threads that read images beside the "
                       "network (default: one a core, up to 8)")  # fmt: skip
    group.add_argument("--ray", metavar="ADDRESS", help="do it on a Ray cluster: HOST:PORT of its head, or auto on one "
                       "of its machines; all must see weights, images and --out by the same paths")  # fmt: skip


_OTHERS = (
    "rows_per_shard", "embed", "embed_dtype", "image_column", "name_column", "batch_size", "decoder",
    "workers", "ray",
)  # fmt: skip


def check_job_flags(args: argparse.Namespace) -> None:
    """Raises TwinsError for flags that do not go together, and for sources that --format alone reads."""
    if args.format is None:
        _check_images_alone(args.sources)
        for name in _OTHERS:
            if getattr(args, name) is not None:
                raise TwinsError(f"{_flag(name)} is for rows in shards: give --format parquet or csv with it")
        return
    for name in ("draw", "explain"):
        if getattr(args, name):
            raise TwinsError(f"{_flag(name)} is for few images: with --format nothing is drawn; leave out one of them")
    if args.embed:
        if args.format != "parquet":
            raise TwinsError("--embed makes vectors, for which CSV has no type: give --format parquet")
        if args.classes is not None:
            raise TwinsError("--classes names what the heads predict, of which --embed has nothing")
    elif args.embed_dtype is not None:
        raise TwinsError("--embed-dtype is for features: give --embed with it")


def _check_images_alone(sources: Sequence[str]) -> None:
    for source in sources:
        if source == STDIN or source.lower().endswith(SUFFIXES_OF_JOBS):
            raise TwinsError(f"{source}: lists, tar shards and Parquet files are read with --format parquet or csv")


def run_job(args: argparse.Namespace, settings: Mapping[str, Any]) -> int:
    """Write the shards that are not there yet; `settings` are those of the predictor."""
    from ..predict import read_names  # heavy, so after the checks
    from ..predict.jobs.network import JobNetwork
    from ..predict.jobs.opening import open_records
    from ..predict.jobs.records import TableColumns
    from ..predict.jobs.running import Shards, write_rows
    from ..predict.jobs.sharded_job import Pace

    records = open_records(args.sources, TableColumns(args.image_column, args.name_column))
    for line in records.left_out:
        print(shown(line), flush=True)
    network = JobNetwork(
        weights=args.weights,
        device=args.device,
        ema=args.ema,
        model=args.model,
        classes=read_names(Path(args.classes)) if args.classes else None,
        dtype=args.dtype,
        embed=(args.embed_dtype or EMBED_DTYPES[0]) if args.embed else None,
        settings=settings,
        batch_size=args.batch_size,
        decoder=args.decoder or DECODERS[0],
    )
    shards = Shards(args.format, args.rows_per_shard or ROWS_PER_SHARD)
    pace = Pace(args.workers, args.bad_images == "skip")
    write_rows(network, records, args.sources, shards, args.out and Path(args.out), args.exist_ok, pace, args.ray)
    return 0


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
