"""The whole of `twins predict`: a network asked about many images, and what it says written as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ..data.annotation_errors import FEW, a_few
from ..data.images import UnreadableImageError
from ..errors import TwinsError
from ..progress import Progress
from .predictors import Predictor
from .sources import ImageFile
from .writers import make_writer, many

T = TypeVar("T")

SAID = 20  # so many images get a line each


def write_predictions(
    predictor: Predictor[Any],
    files: Sequence[ImageFile],
    folder: Path,
    draw: bool = True,
    bad_images: str = "stop",
    exist_ok: bool = False,
) -> None:
    """Write what a network says of images to a folder, and print a summary. An interruption leaves what was found.

    Raises TwinsError for a folder that cannot be written to, or is not empty unless `exist_ok`; where no image can be
    read; and for one that cannot unless `bad_images` is "skip".
    """
    _create(folder, exist_ok)
    writer = make_writer(predictor, files, folder, draw)
    unreadable: list[str] = []
    done, started = 0, time.perf_counter()
    try:
        for some in _in_chunks(_readable(predictor, files, bad_images, unreadable), predictor.at_once):
            answers = predictor([image for _, image in some])
            for (place, image), answer in zip(some, answers, strict=True):
                writer.add(place, image, answer)
                done += 1
                if len(files) <= SAID:
                    print(f"{files[place].name}: {answer}", flush=True)
    finally:
        seconds = time.perf_counter() - started
        if done:
            writer.finish()
            asked = many(len(files), "image")
            asked = asked if done == len(files) else f"{done} of {asked}"
            print(f"{asked}, {seconds / done:.3f} s each: {writer.summary()}")
        if unreadable:
            bad = many(len(unreadable), "unreadable image")
            print(f"left out {bad}: {a_few(unreadable[:FEW], len(unreadable), '; ')}")
        if done:
            print(f"predictions in {folder}", flush=True)
        elif not any(folder.iterdir()):
            folder.rmdir()
    if not done:
        raise TwinsError(f"none of the images can be read: {unreadable[0]}")


def _readable(
    predictor: Predictor[Any], files: Sequence[ImageFile], bad_images: str, unreadable: list[str]
) -> Iterator[tuple[int, Image.Image]]:
    """Places and images; what cannot be read is noted, or raised."""
    for place, image in Progress("predicting", len(files)).over(enumerate(files)):
        try:
            yield place, predictor.read(image.path)
        except UnreadableImageError as error:
            if bad_images == "stop":
                raise TwinsError(f"unreadable image {error}; fix it, or pass --bad-images skip") from error
            unreadable.append(str(error))


def _create(folder: Path, exist_ok: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not exist_ok:
            raise TwinsError(f"{folder}: there is something in it already; name another folder, or pass --exist-ok")
    except OSError as error:
        raise TwinsError(f"{folder}: cannot write there ({error.strerror}); choose another --out") from error


def _in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk
