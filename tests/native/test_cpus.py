"""How many threads the engine may use: affinity and the quotas of control groups, of both versions."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

import pytest
import torch

import twins
from helpers.frozen_networks import small
from twins.native import cpus, frozen, library
from twins.native.cpus import cpus_of_affinity, cpus_of_quota, usable_threads

GROUPS = {
    "none": ("", {}, math.inf),
    "version 2, a container's own": ("0::/", {"cpu.max": "150000 100000"}, 2),
    "version 2, without a limit": ("0::/", {"cpu.max": "max 100000"}, math.inf),
    "version 2, a group around": ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
    "version 2, the least": ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "20000 100000"}, 1),
    "version 1": ("4:memory:/x\n3:cpu,cpuacct:/x", {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000",
                                                    "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 4),
    "version 1, without a limit": ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1",
                                               "cpu/cpu.cfs_period_us": "100000"}, math.inf),
    "version 1, by the host's path": ("1:cpu:/docker/0a1b\n0::/", {"cpu/cpu.cfs_quota_us": "200000",
                                                                  "cpu/cpu.cfs_period_us": "100000"}, 2),
    "nonsense": ("0::/", {"cpu.max": "many 0"}, math.inf),
}  # fmt: skip


@pytest.mark.parametrize("case", GROUPS)
def test_quotas(tmp_path: Path, case: str) -> None:
    lines, files, expected = GROUPS[case]
    own = tmp_path / "own"
    own.write_text(lines + "\n" if lines else "")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cpus_of_quota(tmp_path / "cgroup", own) == expected
    assert cpus_of_quota(tmp_path / "cgroup", tmp_path / "gone") == math.inf


@pytest.mark.parametrize(
    ("wanted", "affinity", "quota", "expected"),
    [
        (4, 8, math.inf, (4, "")),
        (8, 8, 8, (8, "")),
        (8, 2, 4, (2, "this process may run on 2 CPUs")),
        (8, 1, 1, (1, "this process may run on 1 CPU")),
        (64, 32, 3, (3, "the quota of this container or control group is 3 CPUs")),
    ],
)
def test_the_least_counts(
    monkeypatch: pytest.MonkeyPatch, wanted: int, affinity: int, quota: float, expected: tuple[int, str]
) -> None:
    monkeypatch.setattr(cpus, "cpus_of_affinity", lambda: affinity)
    monkeypatch.setattr(cpus, "cpus_of_quota", lambda: quota)
    assert usable_threads(wanted) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
def test_affinity() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpus_of_affinity() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cpus_of_affinity() == len(before)


@pytest.mark.skipif(library.missing() is not None, reason="the engine is not built")
def test_fewer_threads_than_asked_for_are_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    used = []
    forward = library.forward
    monkeypatch.setattr(library, "forward", lambda *args: (used.append(args[-1]), forward(*args)))
    monkeypatch.setattr(cpus, "cpus_of_affinity", lambda: 2)
    frozen._say_once.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(7)
    try:
        with caplog.at_level(logging.WARNING):
            network = twins.freeze(small())
            for _ in range(3):
                network(torch.randn(1, 3, 32, 32))
    finally:
        torch.set_num_threads(before)
    assert used == [2, 2, 2]
    assert caplog.messages == ["freeze: 2 of 7 threads are used, since this process may run on 2 CPUs"]
