"""The CPU engine in the life of a process: threads side by side, forks, memory; and packed weights that are none."""

from __future__ import annotations

import multiprocessing
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import twins
from helpers.frozen_networks import SMALL, assert_close, outputs_of, reference_outputs_of, small
from twins.native import library, packing
from twins.native.packing import DTYPES
from twins.ops import WINDOW_PADDINGS

pytestmark = pytest.mark.skipif(library.missing() is not None, reason="the engine is not built")
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def threads() -> Any:
    """Sets PyTorch's number of threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.usefixtures("more_threads_than_cpus")
def test_more_threads_from_call_to_call(threads: Any) -> None:
    """Helpers that join late must not take part in rounds that were over before."""
    model, images = small(), torch.randn(2, 3, 64, 72)
    expected, frozen_model = reference_outputs_of(model, images), twins.freeze(model)
    for count in (1, 2, 3, 2, 5, 1, 4):
        threads(count)
        for _ in range(3):
            assert_close(outputs_of(frozen_model, images), expected)


@pytest.mark.parametrize("engine_threads", [1, 2])
def test_python_threads_side_by_side(threads: Any, engine_threads: int) -> None:
    threads(engine_threads)
    calls = []
    for i in range(8):
        model = small(list(SMALL)[i % 2], features_only=i % 3 == 0, in_chans=1 + i % 3)
        images = torch.randn(1 + i % 4, 1 + i % 3, 20 + 17 * i, 100 - 9 * i)
        frozen_model = twins.freeze(model, DTYPES[i % 3])
        calls.append((frozen_model, images, outputs_of(frozen_model, images)))

    def repeat(call: tuple[Any, Tensor, list[Tensor]]) -> None:
        frozen_model, images, alone = call
        torch.set_num_threads(engine_threads)  # a thread has its own number
        for _ in range(6):
            for ours, theirs in zip(outputs_of(frozen_model, images), alone, strict=True):
                # tiles are cut by the number of workers, which changes the order of no sum but where int8 is sealed
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(repeat, calls))


def put_outputs(queue: Any, frozen_model: Any, images: Tensor) -> None:
    torch.set_num_threads(2)
    queue.put([outputs_of(frozen_model, images)[0].tolist() for _ in range(3)])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(threads: Any) -> None:
    """As the workers of a DataLoader and of many servers are made; a child has none of its parent's threads."""
    threads(2)
    model, images = small(), torch.randn(2, 3, 64, 72)
    frozen_model = twins.freeze(model)
    expected = outputs_of(frozen_model, images)  # the parent's helpers are awake
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=put_outputs, args=(queue, frozen_model, images)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in children:
        for output in queue.get(timeout=60):
            assert_close([torch.tensor(output)], expected)
    for child in children:
        child.join(timeout=60)
        assert child.exitcode == 0
    assert_close(outputs_of(frozen_model, images), expected)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_calls() -> None:
    frozen_models = [twins.freeze(small(depths=(1, 1, 1, 1)), dtype) for dtype in DTYPES]
    sizes = [(1 + i % 3, 3, 8 + 13 * i % 57, 8 + 29 * i % 71) for i in range(25)]

    def call_all() -> None:
        for size in sizes:
            for frozen_model in frozen_models:
                frozen_model(torch.randn(size))

    call_all()
    before = resident_bytes()
    for _ in range(14):  # 1,050 calls
        call_all()
    assert resident_bytes() - before < 4 * 2**20


# ---- packed weights that are none


def with_words(packed: Tensor, words: dict[int, int]) -> Tensor:
    """A copy in which some 64-bit words are others."""
    changed = packed.clone()
    for position, value in words.items():
        changed.view(torch.int64)[position] = value
    return changed


def call(packed: Tensor) -> Tensor:
    return torch.ops.twins.frozen(torch.randn(1, 3, 32, 32), packed, [], [10])[0]


def test_both_sides_of_packed_weights_number_things_alike() -> None:
    """Layout constants stand in packing.py, which writes, and in engine/packed.h, which the reader includes."""
    header = (Path(twins.native.__file__).parent / "engine" / "packed.h").read_text(encoding="utf-8")
    numbers = {name: int(value, 0) for name, value in re.findall(r"constexpr \w+ ([A-Z_]+) = (\w+);", header)}
    assert (numbers["MAGIC"], numbers["PANEL"]) == (packing.MAGIC, packing.PANEL)
    enums = {
        enum: tuple(name.replace("_", "-") for name in sorted(dict(members), key=lambda name: int(dict(members)[name])))
        for enum, text in re.findall(r"enum class (\w+) : int64_t {(.*)}", header)
        for members in [re.findall(r"(\w+) = (\d)", text)]
    }
    assert enums == {"Dtype": DTYPES, "Padding": WINDOW_PADDINGS}


def test_weights_of_another_version_are_refused() -> None:
    packed = twins.freeze(small()).packed
    with pytest.raises(RuntimeError, match="the CPU engine: these are no packed weights of this version"):
        call(with_words(packed, {0: 1}))
    with pytest.raises(RuntimeError, match="the CPU engine: these are no packed weights of this version"):
        call(torch.randint(256, (4096,), dtype=torch.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
def test_truncated_weights_are_refused(dtype: str) -> None:
    packed = twins.freeze(small(), dtype).packed
    for size in (0, 7, 8, 64, 200, 2048, packed.numel() // 2, packed.numel() - 64):
        with pytest.raises(RuntimeError, match="the CPU engine: packed weights (end too early|are cut off)"):
            call(packed[:size].clone())


def try_words(packed: Tensor) -> None:
    """Each word of the description in turn becomes something else. The result is an error or a number."""
    torch.set_num_threads(1)
    head = int(packed.view(torch.int64)[14]) // 8  # the first array follows the last word
    for position in range(head):
        for value in (-1, 0, 1, 2, 3, 5, 17, 2**16, 2**31, 2**32 + 16, 2**62, -(2**63)):
            with suppress(RuntimeError):
                call(with_words(packed, {position: value}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_descriptions_that_are_wrong_do_no_harm(dtype: str) -> None:
    """In a child, so that a crash is a failed test."""
    child = multiprocessing.get_context("fork").Process(target=try_words, args=(twins.freeze(small(), dtype).packed,))
    child.start()
    child.join(timeout=120)
    assert child.exitcode == 0
