"""Jobs on a Ray cluster of two nodes on this machine, of which one is killed in the middle."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.command_line import refusal
from helpers.ray_nodes import two_ray_nodes
from predict.jobs.test_rows import predict, rows_in
from predict.test_predict import checkpoint, saved
from twins.predict.jobs.network import JobNetwork
from twins.predict.jobs.opening import open_records
from twins.predict.jobs.plan import JobPlan, weights_digest
from twins.predict.jobs.ray_cluster import ShardTasks
from twins.predict.jobs.sharded_job import Pace


@pytest.mark.slow
def test_a_node_that_is_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "upernet")
    for i in range(90):
        saved(tmp_path / "images" / f"{i:03d}.png", 40 + i, 48, seed=i)
    argv = [str(tmp_path / "images"), "--weights", str(weights), "--format", "parquet", "--rows-per-shard", "2"]
    assert predict(*argv, "--out", tmp_path / "here") == 0
    run = "import sys; from twins.cli import main; sys.exit(main())"
    rows = tmp_path / "there" / "rows"
    with two_ray_nodes(cpus=1) as nodes:
        command = ["predict", *argv, "--device", "cpu", "--out", str(tmp_path / "there"), "--ray", nodes.address]
        with subprocess.Popen([sys.executable, "-c", run, *command], stdout=subprocess.PIPE, text=True) as job:
            while not rows.is_dir() or len(list(rows.glob("part-*"))) < 4:
                assert job.poll() is None
                time.sleep(0.05)
            nodes.kill_second()
            assert len(list(rows.glob("part-*"))) < 45
            said, _ = job.communicate(timeout=240)
    assert job.returncode == 0
    assert "90 images, " in said
    assert rows_in(tmp_path / "there") == rows_in(tmp_path / "here")
    assert len(list(rows.iterdir())) == 45


def test_what_an_actor_does(weights: dict[str, Path], sources: dict[str, str], tmp_path: Path) -> None:
    """Without Ray: shards that are there are left alone, and what stops one comes back as text."""
    network = JobNetwork(str(weights["classify"]), "cpu")
    records = open_records([sources["tar"]])
    argv = (sources["tar"], "--weights", weights["classify"], "--format", "csv", "--rows-per-shard", 4)
    assert predict(*argv, "--out", tmp_path / "out") == 0
    plan = JobPlan.from_json((tmp_path / "out" / "job.json").read_text(), Path("job.json"))
    first, second, third = sorted((tmp_path / "out" / "rows").iterdir())
    expected, kept = second.read_bytes(), third.stat()
    second.unlink()
    tasks = ShardTasks(plan, tmp_path / "out", network, records, Pace(1), os.getcwd())
    assert tasks({"shard": [1, 2]}) == {"unreadable": [0, 0], "error": ["", ""]}
    assert second.read_bytes() == expected
    assert third.stat() == kept
    for changed, message in (
        ({"folder": tmp_path / "elsewhere"}, "is not the job's folder there; name an --out that all machines share"),
        ({"here": str(tmp_path / "nothing")}, "cannot be entered"),
        ({"plan": JobPlan(**{**vars(plan), "weights_sha256": "0"})}, "other weights there"),
    ):
        given = {"plan": plan, "folder": tmp_path / "out", "here": os.getcwd()} | changed
        (error,) = ShardTasks(network=network, records=records, pace=Pace(1), **given)({"shard": [0]})["error"]
        assert message in error
    assert plan.weights_sha256 == weights_digest(weights["classify"])
    assert first.exists()


@pytest.mark.slow
def test_what_listens_but_is_no_cluster_is_given_up(
    weights: dict[str, Path], sources: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        argv = (
            sources["tar"],
            "--weights",
            str(weights["classify"]),
            "--format",
            "csv",
            "--out",
            str(tmp_path / "out"),
        )
        line = refusal(capsys, "predict", *argv, "--ray", address)
    assert f"--ray {address}: no Ray cluster of this version of Ray answers there; start one by ray start" in line
