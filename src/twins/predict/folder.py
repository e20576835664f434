"""The whole of `twins predict`: predictions for many images, each written as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ..data.annotation_errors import FEW, a_few
from ..data.images import UnreadableImageError
from ..errors import TwinsError
from ..progress import Progress
from ..shown_text import shown
from .predictors import Predictor
from .sources import ImageFile
from .writers import Writer, make_writer, many

T = TypeVar("T")

FEW_IMAGES = 20  # up to so many get a line each


def write_predictions(
    predictor: Predictor[Any],
    files: Sequence[ImageFile],
    folder: Path,
    draw: bool = True,
    bad_images: str = "stop",
    exist_ok: bool = False,
    explainer: Writer | None = None,
) -> None:
    """Predict images, write the predictions to a folder, and print a summary. An interruption leaves what was found.

    Parameters
    ----------
    predictor:
        Of `load_predictor`; its task decides what is written, see `writers`.
    files:
        Of `find_images`.
    folder:
        Is made if it is not there.
    draw:
        Draw the predictions on the images as well.
    bad_images:
        An unreadable image: "stop", or "skip" and count it.
    exist_ok:
        Write into the folder even if something is in it.
    explainer:
        Is given each prediction as well, to explain it.

    Raises TwinsError for a folder that cannot be written to, or is not empty unless `exist_ok`; where no image can be
    read; and for one that cannot unless `bad_images` is "skip".
    """
    create_folder(folder, exist_ok)
    say_what_predicts(predictor)
    writer = make_writer(predictor, files, folder, draw)
    unreadable: list[str] = []
    done, started = 0, time.perf_counter()
    try:
        for some in _in_chunks(_readable(predictor, files, bad_images, unreadable), predictor.batch_size):
            predictions = predictor([image for _, image in some])
            for (index, image), prediction in zip(some, predictions, strict=True):
                writer.add(index, image, prediction)
                if explainer is not None:
                    explainer.add(index, image, prediction)
                done += 1
                if len(files) <= FEW_IMAGES:
                    print(shown(f"{files[index].name}: {prediction}"), flush=True)
    except TwinsError as error:
        if done:
            raise TwinsError(f"{error}; {folder} has what was predicted so far, --exist-ok writes over it") from error
        raise
    finally:
        seconds = time.perf_counter() - started
        if done:
            writer.finish()
            images = many(len(files), "image")
            images = images if done == len(files) else f"{done} of {images}"
            print(shown(f"{images}, {seconds / done:.3f} s each: {writer.summary()}"))
            if explainer is not None:
                explainer.finish()
                print(shown(explainer.summary()))
        if unreadable:
            bad = many(len(unreadable), "unreadable image")
            print(shown(f"left out {bad}: {a_few(unreadable[:FEW], len(unreadable), '; ')}"))
        if done:
            print(shown(f"predictions in {folder}"), flush=True)
        elif not any(folder.iterdir()):
            folder.rmdir()
    if not done:
        raise TwinsError(f"none of the images can be read: {unreadable[0]}")


def say_what_predicts(predictor: Predictor[Any]) -> None:
    """Print the conventions of weights of others, and what there is to say of any network."""
    info = predictor.info
    if not info.ours:
        print(info.conventions(info.window_padding, info.norm_eps), flush=True)
    for note in predictor.remarks:
        print(note, flush=True)


def _readable(
    predictor: Predictor[Any], files: Sequence[ImageFile], bad_images: str, unreadable: list[str]
) -> Iterator[tuple[int, Image.Image]]:
    """Indices and images; what cannot be read is noted, or raised."""
    for index, file in Progress("predicting", len(files)).over(enumerate(files)):
        try:
            yield index, predictor.read(file.path)
        except UnreadableImageError as error:
            if bad_images == "stop":
                raise TwinsError(f"unreadable image {error}; fix it, or pass --bad-images skip") from error
            unreadable.append(str(error))


def create_folder(folder: Path, exist_ok: bool) -> None:
    """Raises TwinsError for a folder that cannot be written to, or is not empty unless `exist_ok`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not exist_ok:
            raise TwinsError(f"{folder}: there is something in it already; name another folder, or pass --exist-ok")
    except OSError as error:
        raise TwinsError(f"{folder}: cannot write there ({error.strerror}); choose another --out") from error


def _in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Where an error ends the items, those before it still come."""
    chunk: list[T] = []
    try:
        for item in items:
            chunk.append(item)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except TwinsError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
