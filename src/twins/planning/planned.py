"""A run planned on a number of GPUs: what it takes, and which limit binds."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import TwinsError
from .assumptions import OPERATOR_SECONDS, ROOFLINE_SHARES, Assumptions
from .communication import all_reduce_bytes, all_reduce_seconds
from .compute import StepTime, time_as_measured, time_by_mfu, time_by_roofline
from .counted_step import CountedStep, build_on_meta, can_be_counted, count_parameters, count_step
from .failures import losses_of
from .hardware import Gpu
from .memory import GpuMemory, memory_of
from .reading import cores_needed, decoding_of
from .subject import Subject

READING, ALL_REDUCE, FULL = "reading images", "all-reduce", "memory: does not fit"


class Estimate(NamedTuple):
    """How a run goes if its GPUs are as fast as assumed."""

    update: float  # seconds from one update of the weights to the next
    images_per_second: float  # of all GPUs
    training: float  # hours, likewise the next three
    evaluation: float
    saving: float
    repeated: float
    failures: float  # expected number
    hours: float  # in all
    cost: float  # dollars
    input_bytes_per_second: float | None  # of all GPUs
    cores: float | None  # CPU cores that keep up with a GPU
    limit: str


class Plan(NamedTuple):
    """A run on so many GPUs: estimates from slow to fast, or one where the speed is known."""

    gpus: int
    batch: int  # images a GPU and step
    memory: GpuMemory | None  # None where it cannot be counted
    fits: bool
    all_reduce_bytes: float  # that a GPU sends for an update
    all_reduce_seconds: float
    estimates: tuple[Estimate, ...]


class _Case(NamedTuple):
    """What is planned where."""

    subject: Subject
    gpus: int
    gpu: Gpu
    assumed: Assumptions
    batch: int  # images a GPU and step


def plan_run(subject: Subject, gpus: int, gpu: Gpu, assumed: Assumptions) -> Plan:
    """What `subject` takes on `gpus` of a kind.

    Raises TwinsError where they do not share out its batch, and for a detector without a known speed.
    """
    case = _Case(subject, gpus, gpu, assumed, subject.batch_on(gpus))
    recipe = subject.recipe
    if can_be_counted(recipe):
        step = count_step(recipe, subject.classes, case.batch)
        trained, memory = step.trained, memory_of(step, recipe.opt, recipe.model_ema, gpus)
        times = _step_times(case, step)
    else:
        trained, memory = count_parameters(build_on_meta(recipe, subject.classes)[1], trained=True), None
        times = [_known_time(case)]
    fits = memory is None or memory.total <= gpu.memory
    reducing = all_reduce_seconds(trained, gpus, gpu, assumed.network)
    estimates = tuple(_estimate(case, time, reducing, fits) for time in times)
    return Plan(gpus, case.batch, memory, fits, all_reduce_bytes(trained, gpus), reducing, estimates)


def known_speed(subject: Subject, gpu: Gpu, assumed: Assumptions) -> float | None:
    """Images a second and GPU, as stated, or as the run had on a GPU of this kind; None where a model has to do."""
    if assumed.images_per_second is not None:
        return assumed.images_per_second
    if assumed.mfu is None and subject.measured is not None and subject.measured.gpu == gpu:
        return subject.measured.images_per_second
    return None


def _known_time(case: _Case) -> StepTime:
    """Of a detector, which nothing here models."""
    speed = known_speed(case.subject, case.gpu, case.assumed)
    if speed is None:
        recipe = case.subject.recipe
        raise TwinsError(
            f"{recipe.name or recipe.model}: what a detector computes depends on its images: pass "
            "--images-per-second N, what a GPU of this kind trains on"
        )
    return time_as_measured(case.batch, speed)


def _step_times(case: _Case, step: CountedStep) -> list[StepTime]:
    """From slow to fast, or one that is known."""
    subject, _, gpu, assumed, batch = case
    recipe = subject.recipe
    if (speed := known_speed(subject, gpu, assumed)) is not None:
        return [time_as_measured(batch, speed)]
    if assumed.mfu is not None:
        return [time_by_mfu(step, gpu, assumed.mfu)]
    clip = bool(recipe.clip_grad)
    return [
        time_by_roofline(step, gpu, share, starting, clip, recipe.model_ema)
        for share, starting in zip(ROOFLINE_SHARES, OPERATOR_SECONDS, strict=True)
    ]


def _estimate(case: _Case, time: StepTime, reducing: float, fits: bool) -> Estimate:
    """The run where a step takes its GPU `time`, and the all-reduce `reducing` seconds."""
    subject, gpus, gpu, assumed, batch = case
    recipe, decoding = subject.recipe, decoding_of(subject.recipe)
    images = batch * recipe.grad_accum_steps  # a GPU and update
    reading = 0.0 if decoding is None else images / (decoding.images_per_core * assumed.cores)
    computing = time.seconds * recipe.grad_accum_steps
    exposed = max(0.0, reducing - time.backward)
    update = max(computing + exposed, reading)
    limit = READING if reading > computing + exposed else ALL_REDUCE if exposed > computing else time.bound_by

    evaluated = subject.val_images / gpus
    evaluation = recipe.epochs * max(evaluated * time.forward / batch, evaluated / images * reading)
    training = recipe.epochs * subject.updates(gpus) * update
    save_every = assumed.save_every if assumed.save_updates is None else assumed.save_updates * update
    losses = losses_of(training + evaluation, recipe.epochs, gpus, save_every, assumed.mtbf)
    hours = (training + evaluation + losses.saving + losses.repeated) / 3600
    speed = images / update  # of a GPU
    return Estimate(
        update=update,
        images_per_second=speed * gpus,
        training=training / 3600,
        evaluation=evaluation / 3600,
        saving=losses.saving / 3600,
        repeated=losses.repeated / 3600,
        failures=losses.failures,
        hours=hours,
        cost=hours * gpus * (gpu.price if assumed.price is None else assumed.price),
        input_bytes_per_second=None if subject.image_bytes is None else speed * gpus * subject.image_bytes,
        cores=None if decoding is None else cores_needed(images / (computing + exposed), decoding),
        limit=limit if fits else FULL,
    )
