"""Plans in words: a table with a column for each number of GPUs, and everything that was taken for granted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import assumptions as defaults
from .assumptions import Assumptions
from .hardware import GPUS_A_NODE, Gpu
from .planned import Estimate, Plan, known_speed
from .reading import decoding_of
from .subject import Subject


def plan_lines(subject: Subject, gpu: Gpu, assumed: Assumptions, plans: Sequence[Plan]) -> Iterator[str]:
    """What `twins plan` prints."""
    recipe = subject.recipe
    yield f"{subject.title}: {recipe.epochs} epochs of {subject.images:,} images, on {gpu.title}"
    yield ""
    columns = [figures(plan, gpu) for plan in plans]
    rows = [(title, *(column[title] for column in columns)) for title in columns[0]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for title, *cells in rows:
        yield "  ".join([title.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))])
    yield ""
    yield from (f"- {line}" for line in assumption_lines(subject, gpu, assumed))


def figures(plan: Plan, gpu: Gpu) -> dict[str, str]:
    """A column of the table by the titles of its rows."""

    def span(value: Callable[[Estimate], float | None], text: Callable[[float], str]) -> str:
        return _span([value(estimate) for estimate in plan.estimates], text)

    memory = plan.memory
    return {
        "GPUs": str(plan.gpus),
        "images a GPU and step": str(plan.batch),
        "images a second, all GPUs": span(lambda e: e.images_per_second, _whole),
        "ms from update to update": span(lambda e: 1000 * e.update, _short),
        "hours": span(lambda e: e.hours, _short),
        "  of them evaluation": span(lambda e: e.evaluation, _short),
        "  saving checkpoints": span(lambda e: e.saving, _short),
        "  repeated after failures": span(lambda e: e.repeated, _short),
        "failures expected": span(lambda e: e.failures, _short),
        "cost, dollars": span(lambda e: e.cost, _whole),
        f"memory a GPU, GB of {gpu.memory:g}": _short(memory.total) if memory else "?",
        "  of it activations": _short(memory.activations) if memory else "?",
        "reading, MB/s, all GPUs": span(lambda e: e.input_bytes_per_second, lambda b: _whole(b / 1e6)),
        "CPU cores a GPU": span(lambda e: e.cores, _short),
        "all-reduce, MB sent a GPU": _whole(plan.all_reduce_bytes / 1e6),
        "all-reduce, ms": _short(1000 * plan.all_reduce_seconds),
        "what binds": " / ".join(dict.fromkeys(estimate.limit for estimate in plan.estimates)),
    }


def _span(values: Sequence[float | None], text: Callable[[float], str]) -> str:
    """From slow to fast, or one number where both read alike; "?" where it is not known."""
    texts = ["?" if value is None else text(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else " to ".join(texts)


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _short(value: float) -> str:
    """Two digits or more that count: "0.0042", "0.31", "4.2", "41", "1,204"; what is less is nearly nothing."""
    if value >= 10:
        return f"{value:,.0f}"
    if value >= 1:
        return f"{value:.1f}"
    return f"{value:.2g}" if value >= 0.001 or value == 0 else "< 0.001"


def assumption_lines(subject: Subject, gpu: Gpu, assumed: Assumptions) -> Iterator[str]:
    """Everything that the figures rest on, a line each, with the flag that changes it."""
    recipe, measured = subject.recipe, subject.measured
    yield from subject.notes
    low, high = (f"{100 * share:.0f}" for share in defaults.ROOFLINE_SHARES)
    if assumed.images_per_second is not None:
        yield f"speed: {assumed.images_per_second:g} images/s a GPU, as stated (--images-per-second)"
    elif known_speed(subject, gpu, assumed) is not None:
        yield f"speed: {measured}, measured in this run; it is taken to hold for other batches too"
    elif assumed.mfu is not None:
        yield f"speed: products reach {100 * assumed.mfu:g} % of the peak in half precision over all the time (--mfu)"
    else:
        yield (
            f"speed: modelled, not measured on any {gpu.name}: PyTorch's operators, one by one, reach {low} to {high} "
            "% of what the GPU's peaks allow (timm's public tables: 39 to 67 %); --images-per-second states your own"
        )
        slow, fast = (f"{1e6 * seconds:.0f}" for seconds in defaults.OPERATOR_SECONDS)
        yield f"an operator takes the host {slow} µs to start, as measured on a CPU, to {fast}"
        if recipe.torchcompile:
            yield "torch.compile, which this recipe asks for, joins operators: that is not counted, and the run faster"
    if measured is not None and known_speed(subject, gpu, assumed) != measured.images_per_second:
        yield f"not used: {measured}, measured in this run"
    dtype = "half precision" if recipe.amp else "float32, its convolutions in TF32"
    yield (
        f"{gpu.title}: {gpu.half:g} TFLOP/s in half precision, {gpu.tf32:g} in TF32, {gpu.single:g} in float32, "
        f"{gpu.bandwidth:,.0f} GB/s, {gpu.memory:g} GB ({gpu.source}); this recipe multiplies in {dtype}"
    )
    yield (
        f"all-reduce: a ring, float32, behind the backward pass, at {100 * defaults.LINK_SHARE:.0f} % of "
        f"{gpu.linked_by} ({gpu.link:g} GB/s one way) "
        f"or of {assumed.network:g} Gbit/s a node of {GPUS_A_NODE} (--network-gbps)"
    )
    decoding = decoding_of(recipe)
    if decoding is None:
        yield "CPU cores: not counted, since reading such images has not been measured"
    else:
        yield (
            f"CPU cores: {decoding.images_per_core:.0f} images/s each, {decoding.source}; "
            f"a GPU has {assumed.cores:g} of them (--cores)"
        )
    if subject.image_bytes is not None:
        yield f"reading: {subject.image_bytes / 1000:.0f} kB an image ({subject.bytes_source}), nothing kept in memory"
    yield f"evaluation: {subject.val_images:,} images after each epoch, each the forward pass of a training image"
    updates = assumed.save_updates
    often = f"{assumed.save_every / 60:g} min" if updates is None else f"{updates:,} updates"
    yield (
        f"checkpoints: every {often} (--save-every) and after each epoch, for which training "
        f"waits {defaults.SAVE_SECONDS:g} s"
    )
    yield (
        f"failures: one in {assumed.mtbf:,.0f} hours of a GPU (--mtbf; 419 in 54 days of 16,384 H100, Llama 3), "
        f"{defaults.RESTART_SECONDS / 60:g} min to start again"
    )
    yield (
        f"memory: {defaults.LIBRARIES:g} GB of it for CUDA; what the allocator leaves between tensors is not counted"
    )
    if assumed.price is None:
        yield f"price: {gpu.price:.2f} dollars an hour and GPU, a round number; providers differ by factors (--price)"
    else:
        yield f"price: {assumed.price:g} dollars an hour and GPU (--price)"


def plan_record(subject: Subject, gpu: Gpu, assumed: Assumptions, plans: Sequence[Plan]) -> dict[str, Any]:
    """The same for machines: seconds, bytes a second and dollars as numbers, assumptions as sentences."""
    return {
        "title": subject.title,
        "epochs": subject.recipe.epochs,
        "images": subject.images,
        "gpu": gpu._asdict(),
        "assumptions": list(assumption_lines(subject, gpu, assumed)),
        "plans": [
            plan._asdict()
            | {
                "memory": plan.memory and {**plan.memory._asdict(), "total": plan.memory.total},
                "estimates": [estimate._asdict() for estimate in plan.estimates],
            }
            for plan in plans
        ],
    }
