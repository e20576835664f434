"""`twins serve` as a command: flags, what it says, and how it ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from helpers.command_line import refusal
from helpers.servers import encoded, noise
from predict.test_predict import checkpoint
from served import LISTENING, server_process
from twins.client import Client


@pytest.mark.parametrize(("flags", "line"), [
    (["--port", "70000"], "argument --port: a whole number between 0 and 65535 is needed, not '70000'"),
    (["--workers", "0"], "argument --workers: a whole number of 1 or more is needed, not '0'"),
    (["--max-wait-ms", "-1"], "argument --max-wait-ms: a number of 0 or more is needed"),
    (["--max-upload-mb", "nan"], "argument --max-upload-mb: a number of 0.001 or more is needed"),
    (["--max-images", "many"], "argument --max-images: a whole number of 1 or more is needed"),
    (["--queue", "5"], "--queue 5 has no room for a request of --max-images 32"),
    (["--device", "tpu"], "device"),
    (["--dtype", "fp23"], "--dtype must be one of"),
    (["--prot", "1"], "unknown argument --prot (did you mean --port"),
    (["--api-key-file", "no-such-file"], "--api-key-file no-such-file: cannot be read"),
    (["--host", "999.1.1.1"], "--host 999.1.1.1: no such address"),
    (["--replicas", "2"], "--replicas is for a Ray cluster: give --ray ADDRESS with it"),
    (["--replica-cpus", "2"], "--replica-cpus is for a Ray cluster: give --ray ADDRESS with it"),
    (["--ray", "auto", "--replicas", "0"], "argument --replicas: a whole number of 1 or more is needed, not '0'"),
    (["--ray", "auto", "--workers", "2"], "--workers is for this machine alone: give --replicas with --ray"),
    (["--ray", "auto", "--device", "cuda:1"], "--device cuda:1 is a GPU of one machine: with --ray give cuda"),
    (["--ray", "nowhere"], "--ray takes auto, or HOST:PORT of a cluster's head, not 'nowhere'"),
    (["--ray", "127.0.0.1:1"], "--ray 127.0.0.1:1: nobody answers there"),
    (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),  # of nobody, by RFC 5737
])  # fmt: skip
def test_wrong_flags_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], line: str
) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    assert line in refusal(capsys, "serve", str(weights), "--port", "0", *flags)


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "choose another --port, 0 for a free one" in refusal(capsys, "serve", str(weights), "--port", port)


def test_weights_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no-such.pth" in refusal(capsys, "serve", "no-such.pth", "--port", "0")
    assert "no-such.pth is not there: check the path" in refusal(capsys, "serve", "no-such.pth", "--ray", "auto")
    monkeypatch.chdir(tmp_path)
    assert refusal(capsys, "serve") == "twins: runs: has no finished run; name the weights"


def test_the_newest_finished_run_is_served_until_sigterm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "classify" / "mine"
    run.mkdir(parents=True)
    checkpoint(run, "classify")[0].rename(run / "checkpoint_best.pth")
    (run / "summary.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with server_process("--host", "0.0.0.0") as server:
        assert server.lines[0] == "the newest finished run: runs/classify/mine/checkpoint_best.pth"
        assert server.lines[1].startswith("warning: whoever reaches 0.0.0.0 can use this server: --api-key-file")
        assert server.lines[2].startswith("twins_svt_small: classify, 3 classes, ")
        assert server.lines[3].startswith(f"{LISTENING}http://0.0.0.0:")
        (result,) = Client(server.address).predict([encoded(noise(40, 40))])
        assert len(result["classes"]) == 3
        assert server.stop() == 0
    assert len(server.answered(200)) == 1
    assert "Traceback" not in "\n".join(server.lines)


@pytest.mark.slow
def test_several_workers_share_a_port_and_their_metrics(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    with server_process(weights, "--workers", "2", "--api-key-file", keys) as server:
        for _ in range(20):
            Client(server.address, api_key="secret").predict([encoded(noise(40, 40))])
        request = Request(f"{server.address}/metrics", headers={"Authorization": "Bearer secret"})
        with urlopen(request) as answer:
            lines = answer.read().decode().splitlines()
        assert 'twins_requests_total{route="/predict",status="200"} 20.0' in lines
        assert server.stop(signal.SIGINT) == 0
    assert len(server.answered(200)) == 20
    assert sum(line.startswith(LISTENING) for line in server.lines) == 1


@pytest.mark.slow
def test_a_worker_that_cannot_begin_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "serve", str(tmp_path / "no.pth"), "--port", "0", "--workers", "2")
    assert "no.pth" in line
