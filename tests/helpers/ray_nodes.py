"""A Ray cluster of two nodes on this machine, of which the second can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

MEMORY = 100 * 2**20  # bytes of a node's object store
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": int(sys.argv[1]), "object_store_memory": int(sys.argv[2])}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
second = cluster.add_node(**node)
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""


class TwoNodes:
    """The cluster, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = self._line()

    def kill_second(self) -> None:
        """By SIGKILL, the head knowing nothing of it."""
        assert self.process.stdin is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self._line() == "killed"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def two_ray_nodes(cpus: int) -> Iterator[TwoNodes]:
    """With so many CPUs each; gone afterwards."""
    pytest.importorskip("ray")
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CLUSTER, str(cpus), str(MEMORY)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield TwoNodes(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
