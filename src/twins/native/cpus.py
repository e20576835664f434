"""How many CPUs this process may keep busy: its affinity, and the quota of its control groups, as containers have."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_threads(wanted: int) -> tuple[int, str]:
    """How many of the `wanted` threads have a CPU each, at least 1, and why no more, "" where it is all of them.

    Threads without one would wait for each other's turns at every sublayer.
    """
    affinity, quota = cpus_of_affinity(), cpus_of_quota()
    if wanted <= min(affinity, quota):
        return wanted, ""
    if affinity <= quota:
        return affinity, f"this process may run on {affinity} CPU{'s' * (affinity > 1)}"
    return int(quota), f"the quota of this container or control group is {int(quota)} CPU{'s' * (quota > 1)}"


def cpus_of_affinity() -> int:
    """CPUs that the calling thread, and so the threads it makes, may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def cpus_of_quota(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float:
    """The least quota of CPU time of this process's control groups, in whole CPUs rounded up; infinity without one.

    `own` lists the groups, of version 1 and 2, as Linux does; `cgroups` is where their settings are.
    """
    return min(map(math.ceil, _quotas(cgroups, own)), default=math.inf)


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """Quotas over periods, of each group and those around it."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            for group in _with_groups_around(cgroups, path):
                yield from _quota(_words(group / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for group in _with_groups_around(cgroups / controllers, path):
                yield from _quota(_words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us"))


def _with_groups_around(mount: Path, path: str) -> list[Path]:
    """A group's folder and those above it, of which a container may see the uppermost alone: its path is the host's."""
    group = mount / path.lstrip("/")
    return [folder for folder in (group, *group.parents) if folder == mount or mount in folder.parents]


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _quota(words: list[str]) -> Iterator[float]:
    """CPUs by a quota and a period in microseconds, if there is a limit: "max" and -1 are none."""
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[0]) and int(words[1]):
        yield int(words[0]) / int(words[1])
