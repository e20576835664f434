"""Memory that a training step frees is there for the next, while a run on a CPU lasts."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from textwrap import dedent

import pytest
import torch

from twins.training.malloc_settings import freed_memory_kept, keep_freed_memory

CPU = torch.device("cpu")
PAGES = 20_000  # of 4 KB in the tensors below, which are above what the C library keeps by itself


@pytest.fixture(autouse=True)
def nothing_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


# In a process of its own: once an allocation has failed, as hostile files make it fail in other tests, the C library
# serves that thread from another arena, which keeps nothing of this size.
MEASURE = f"""
    import json, resource, torch
    from twins.training.malloc_settings import freed_memory_kept

    def page_faults(times=4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(times):
            torch.ones({PAGES} * 1024)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with freed_memory_kept(torch.device("cuda")):
        every_time = page_faults()
    with freed_memory_kept(torch.device("cpu")):
        page_faults(10)  # until there is room that fits
        inside = page_faults()
    print(json.dumps([every_time, inside, page_faults(1)]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the GNU C library's allocator")
def test_pages_are_kept_inside_and_given_back_after() -> None:
    measured = subprocess.run([sys.executable, "-c", dedent(MEASURE)], capture_output=True, text=True, check=True)
    every_time, inside, after = json.loads(measured.stdout)
    assert inside < 0.05 * every_time
    assert after > 0.9 * every_time / 4  # all was given back at the end


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_environment_sets_up_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
    with freed_memory_kept(CPU):
        pass
