"""From the images of a request to their results: decoded in threads, predicted in batches, in the files' order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from PIL import Image, UnidentifiedImageError

from ..data.image_source import ImageBytes
from ..data.images import UnreadableImageError, read_image, size_of, upright_size, width_x_height
from ..native.cpus import cpus_of_affinity, cpus_of_quota
from ..predict.predictors import Prepared
from .attention import Attended, Attention
from .batching import Batcher
from .metrics import Metrics
from .models import ServedModel
from .problems import ProblemError, busy
from .request_log import RequestRecord
from .results import colours_of, result_of
from .rooms import Held, PixelRoom, Room
from .schema import CONF, TOPK
from .settings import ServeSettings

T = TypeVar("T")
LOOKS_AT_ONCE = 8  # requests for attention that wait for one another


class Line:
    """A model, the queue before it, and how many images it may have accepted."""

    def __init__(self, model: ServedModel, settings: ServeSettings, turn: Lock, metrics: Metrics) -> None:
        self.model = model
        at_once = min(settings.max_batch, model.predictor.batch_size)
        observe = partial(metrics.add_batch, model.name)
        self.batcher = Batcher(model.predictor.predict_tensors, at_once, settings.max_wait_ms / 1000, turn, observe)
        self.room = Room(settings.queue, self._full)
        self.queued = metrics.queue.labels(model.name)

    @contextmanager
    def places(self, images: int) -> Iterator[None]:
        """For so many images. Raises ProblemError, 429, where there are too few."""
        self.room.take(images)
        self.queued.inc(images)
        try:
            yield
        finally:
            self.room.give_back(images)
            self.queued.dec(images)

    def _full(self) -> ProblemError:
        return busy(f"the queue of {self.model.name} is full", self.room.taken * self.batcher.seconds_per_image)


class Service:
    """All models of a server, ready to be asked by its routes; `start` before and `close` after."""

    def __init__(self, models: Sequence[ServedModel], settings: ServeSettings, metrics: Metrics) -> None:
        turn = Lock()  # of the networks, which share the cores, or the GPU
        self.lines = {model.name: Line(model, settings, turn, metrics) for model in models}
        self.pixels = PixelRoom(int(1e6 * max(model.max_megapixels for model in models)))
        self.attention = Attention(turn, settings.ema)
        self.looks = Room(LOOKS_AT_ONCE, lambda: busy("others look into networks", LOOKS_AT_ONCE))
        self.threads = ThreadPoolExecutor(int(min(cpus_of_affinity(), cpus_of_quota())), "images")
        self.looking = ThreadPoolExecutor(1, "attention")

    def start(self) -> None:
        for line in self.lines.values():
            line.batcher.start()

    def close(self) -> None:
        """Finish what was begun."""
        for line in self.lines.values():
            line.batcher.close()
        self.threads.shutdown()
        self.looking.shutdown()

    def described(self) -> list[dict[str, Any]]:
        """Of every model, as `GET /models` has it; the first is the default."""
        return [line.model.described(number == 0) for number, line in enumerate(self.lines.values())]

    def line(self, name: str | None) -> Line:
        """By the model's name, or the first. Raises ProblemError, 404."""
        if name is None:
            return next(iter(self.lines.values()))
        if name not in self.lines:
            raise ProblemError(404, f"no model {name!r}; there is {', '.join(self.lines)}")
        return self.lines[name]

    async def predict(
        self,
        images: Sequence[ImageBytes],
        model: str | None,
        topk: int | None,
        conf: float | None,
        record: RequestRecord,
    ) -> dict[str, Any]:
        """What `POST /predict` answers.

        Raises ProblemError where no image can be predicted, and for values that are not the task's.
        """
        line = self.line(model)
        self._check_values(line.model, topk, conf)
        asked = (TOPK if topk is None else topk, CONF if conf is None else conf)
        record.model = line.model.name
        with line.places(len(images)):
            record.images = len(images)
            found = await asyncio.gather(
                *(self._result(line, image, *asked, record) for image in images), return_exceptions=True
            )
        for outcome in found:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ProblemError):
                raise outcome
        refused = [outcome for outcome in found if isinstance(outcome, ProblemError)]
        if len(refused) == len(images):
            few = "" if len(images) == 1 else f"none of the {len(images)} images can be read: "
            raise ProblemError(refused[0].status, f"{few}{refused[0]}")
        results = [
            {"file": image.name, **({"error": outcome.fields} if isinstance(outcome, ProblemError) else outcome)}
            for image, outcome in zip(images, found, strict=True)
            if not isinstance(outcome, BaseException) or isinstance(outcome, ProblemError)
        ]
        answer = {"model": line.model.name, "task": line.model.task, "request_id": record.id, "results": results}
        colours = colours_of(line.model.task, len(line.model.predictor.classes))
        return answer if colours is None else {**answer, "colours": colours}

    async def look(self, image: ImageBytes, model: str | None, x: int, y: int, record: RequestRecord) -> Attended:
        """What `POST /attention` answers. Raises ProblemError."""
        served = self.line(model).model
        record.model, record.images = served.name, 1
        if not served.can_attend:
            raise ProblemError(409, f"{served.name} is an exported file, which hides its network: serve the checkpoint")
        self.looks.take(1)
        try:
            async with self.pixels.held(await self._in_thread(partial(_checked, served, image))):
                opened = await self._in_thread(partial(_read, served, image))
                height, width = size_of(opened)
                if not (0 <= x < width and 0 <= y < height):
                    raise ProblemError(
                        422, f"x={x}, y={y} lies outside of the image, {width_x_height((height, width))}"
                    )
                started = time.perf_counter()
                look = partial(self.attention.at, served, opened, x, y)
                attended = await asyncio.get_running_loop().run_in_executor(self.looking, look)
                record.network = time.perf_counter() - started
                return attended
        finally:
            self.looks.give_back(1)

    async def _result(
        self, line: Line, image: ImageBytes, topk: int, conf: float, record: RequestRecord
    ) -> dict[str, Any]:
        """An image's result without its name. Raises ProblemError for one that is refused."""
        started = time.perf_counter()
        async with self.pixels.held(await self._in_thread(partial(_checked, line.model, image))) as held:
            answer = await line.batcher.predict(self._prepared(line.model, image, held))
            record.add_image(answer.since - started, answer.waited, answer.computed)
            fields = await self._in_thread(partial(result_of, answer.prediction, topk, conf))
        height, width = answer.size
        return {"width": width, "height": height, **fields}

    async def _prepared(self, model: ServedModel, image: ImageBytes, held: Held) -> Prepared:
        """An image as the network takes it, which is most often smaller than what was held for it."""
        prepared = await self._in_thread(partial(_prepared, model, image))
        held.shrink(prepared.tensor.shape[-2] * prepared.tensor.shape[-1])
        return prepared

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    @staticmethod
    def _check_values(model: ServedModel, topk: int | None, conf: float | None) -> None:
        if topk is not None and model.task != "classify":
            raise ProblemError(422, f"topk is for classifiers; {model.name} is there to {model.task}")
        if conf is not None and model.task != "detect":
            raise ProblemError(422, f"conf is for detectors; {model.name} is there to {model.task}")
        if conf is not None and conf < model.least_score:
            raise ProblemError(422, f"conf must be {model.least_score:g} or more: {model.name} has no objects below")


def _checked(model: ServedModel, image: ImageBytes) -> int:
    """How many pixels an image will need, from its header alone. Raises ProblemError for one that is refused."""
    if not image.content:
        raise ProblemError(415, f"{image.name}: is empty (0 bytes)")
    try:
        size = upright_size(image)
    except UnreadableImageError as error:
        raise _refusal(error) from error
    pixels = model.largest(size)
    if pixels > 1e6 * model.max_megapixels:
        as_sent = size[0] * size[1]
        resized = "" if pixels == as_sent else f", {pixels / 1e6:,.0f} once resized for the network"
        raise ProblemError(
            413,
            f"{image.name}: {as_sent / 1e6:,.6g} megapixels ({width_x_height(size)}){resized}, more than "
            f"{model.max_megapixels:g}",
        )
    return pixels


def _read(model: ServedModel, image: ImageBytes) -> Image.Image:
    """The upright image, as `twins predict` reads it. Raises ProblemError."""
    try:
        return read_image(image, model.predictor.channels, model.predictor.reading)
    except UnreadableImageError as error:
        raise _refusal(error) from error


def _prepared(model: ServedModel, image: ImageBytes) -> Prepared:
    """The size of the upright image, and what the network sees of it. Raises ProblemError."""
    try:
        return model.predictor.prepare(image)
    except UnreadableImageError as error:
        raise _refusal(error) from error


def _refusal(error: UnreadableImageError) -> ProblemError:
    """415 for what is of no format that is read, 422 for what cannot be decoded though it is."""
    return ProblemError(415 if isinstance(error.__cause__, UnidentifiedImageError) else 422, str(error))
