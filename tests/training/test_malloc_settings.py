"""Memory that a training step frees is there for the next, while a run on a CPU lasts."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from twins.training.malloc_settings import freed_memory_kept, keep_freed_memory

CPU = torch.device("cpu")
PAGES = 20_000  # of 4 KB in the tensors below, which are above what the C library keeps by itself


@pytest.fixture(autouse=True)
def nothing_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


def page_faults(times: int = 4) -> int:
    """Of filling and freeing 80 MB so many times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(PAGES * 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the GNU C library's allocator")
def test_pages_are_kept_inside_and_given_back_after() -> None:
    with freed_memory_kept(torch.device("cuda")):
        every_time = page_faults()
    with freed_memory_kept(CPU):
        page_faults(10)  # until there is room that fits
        inside = page_faults()
    assert inside < 0.05 * every_time
    assert page_faults(1) > 0.9 * every_time / 4  # all was given back at the end


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_environment_sets_up_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
    with freed_memory_kept(CPU):
        pass
