"""Hosts that torchrun joins over a network: one loses its ranks, its torchrun, its link; the others say so or go on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.hosts import Host, children_of, joined_hosts, kill_tree
from helpers.runs import assert_same, log_of, weights_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TINY = ["--model-kwargs", "depths=1,1,1,1", "embed_dims=16,32,32,32", "num_heads=1,2,2,2"]


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    with joined_hosts(["host-a", "host-b", "host-c"]) as made:
        yield made


class Job:
    """torchrun on several hosts, one rank each, which trains a tiny network on the digits."""

    def __init__(self, folder: Path, hosts: list[Host], nodes: str, restarts: int, timeout: str, epochs: int) -> None:
        self.folder, self.hosts, self.nodes, self.restarts = folder, hosts, nodes, restarts
        self.flags = ["--output", str(folder / "runs"), "--name", "job", "--epochs", str(epochs), "--workers", "0"]
        self.flags += ["--batch-size", "64", "--device", "cpu", "--log-interval", "1", "--dist-timeout", timeout, *TINY]
        self.run = folder / "runs/classify/job"

    def start(self, host: Host) -> None:
        """Start torchrun on a host; the first one keeps the store of the rendezvous."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", self.nodes, "--nproc-per-node", "1",
                    "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{self.hosts[0].address}:29400", "--rdzv-id", "job",
                    "--rdzv-conf", f"is_host={int(host is self.hosts[0])},last_call_timeout=3",
                    "--local-addr", host.address,
                    "--max-restarts", str(self.restarts), "-m", "twins.cli", "train", *self.flags]  # fmt: skip
        host.start(torchrun, self.output(host), {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"})

    def output(self, host: Host) -> Path:
        return self.folder / f"{host.name}.txt"

    def said(self, host: Host) -> str:
        return self.output(host).read_text()

    def rows(self) -> int:
        """Updates that were written down."""
        table = self.run / "steps.csv"
        return len(table.read_text().splitlines()) if table.exists() else 0

    def ranks(self, host: Host) -> list[int]:
        return children_of(host.started[-1].pid)

    def statuses(self, seconds: float) -> list[int]:
        """The exit statuses of the newest torchrun of each host that still had one, in their order."""
        deadline = time.monotonic() + seconds
        running = [host.started[-1] for host in self.hosts if host.started]
        return [process.wait(timeout=max(deadline - time.monotonic(), 0.1)) for process in running]


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started_job(tmp_path: Path, hosts: list[Host], **how: object) -> Job:
    """A job on these hosts that has finished an epoch, and begun the next."""
    settings = {"nodes": str(len(hosts)), "restarts": 3, "timeout": "10s", "epochs": 5, **how}
    job = Job(tmp_path, hosts, **settings)  # type: ignore[arg-type]
    for host in hosts:
        job.start(host)
    wait_until(lambda: (job.run / "checkpoint.pth").exists(), seconds=120)
    rows = job.rows()
    wait_until(lambda: job.rows() > rows, seconds=60)
    return job


def undisturbed(tmp_path: Path, hosts: list[Host]) -> Path:
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    job = Job(folder, hosts, str(len(hosts)), restarts=0, timeout="1m", epochs=5)
    for host in hosts:
        job.start(host)
    assert job.statuses(200) == [0] * len(hosts)
    return job.run


def test_a_host_whose_ranks_are_killed_goes_on_with_the_others(hosts: list[Host], tmp_path: Path) -> None:
    pair = hosts[:2]
    expected = undisturbed(tmp_path, pair)
    job = started_job(tmp_path, pair)
    for pid in job.ranks(pair[1]):
        os.kill(pid, signal.SIGKILL)
    assert job.statuses(200) == [0, 0]
    assert "rank 1 (on host-b, process" in job.said(pair[0])
    assert_same(weights_of(job.run), weights_of(expected))
    assert [row["epoch"] for row in log_of(job.run)] == [0, 1, 2, 3, 4]


def test_a_host_that_is_replaced_goes_on_with_the_others(hosts: list[Host], tmp_path: Path) -> None:
    """Its torchrun dies as well, and a third host takes its place: restarts are counted by each host for itself."""
    expected = undisturbed(tmp_path, hosts[:2])
    job = started_job(tmp_path, hosts[:2])
    kill_tree(hosts[1].started[-1].pid)
    job.start(hosts[2])
    job.hosts = [hosts[0], hosts[2]]
    assert job.statuses(200) == [0, 0]
    assert "rank 1 (on host-b, process" in job.said(hosts[0])
    assert_same(weights_of(job.run), weights_of(expected))


def test_a_host_that_is_gone_for_good_leaves_its_samples_to_the_others(hosts: list[Host], tmp_path: Path) -> None:
    """Three hosts of which two suffice; the rest of the run is of two ranks."""
    job = started_job(tmp_path, hosts, nodes="2:3")
    kill_tree(hosts[2].started[-1].pid)
    job.hosts = hosts[:2]
    assert job.statuses(200) == [0, 0]
    assert "(on host-c, process" in job.said(hosts[0]) + job.said(hosts[1])
    assert [row["epoch"] for row in log_of(job.run)] == [0, 1, 2, 3, 4]


def test_a_cut_link_is_noticed_on_both_of_its_sides(hosts: list[Host], tmp_path: Path) -> None:
    pair = hosts[:2]
    job = started_job(tmp_path, pair, restarts=0, epochs=200)
    pair[1].cut()
    cut = time.monotonic()
    wait_until(lambda: not (job.ranks(pair[0]) or job.ranks(pair[1])), seconds=90)
    assert time.monotonic() - cut < 60
    assert "twins: rank 1 (on host-b, process" in job.said(pair[0])
    assert "go on with twins train --resume" in job.said(pair[0])
    assert "rank 0 (on host-a, process" in job.said(pair[1])


def test_a_link_that_comes_back_lets_the_run_go_on(hosts: list[Host], tmp_path: Path) -> None:
    pair = hosts[:2]
    expected = undisturbed(tmp_path, pair)
    job = started_job(tmp_path, pair)
    pair[1].cut()
    time.sleep(25)
    pair[1].restore()
    assert job.statuses(240) == [0, 0]
    assert "rank 1 (on host-b, process" in job.said(pair[0])
    assert_same(weights_of(job.run), weights_of(expected))
