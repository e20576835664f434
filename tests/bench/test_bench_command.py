"""`twins bench`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.bench_rows import SMALL, make_rows
from twins.bench import run
from twins.bench.measuring import Measured
from twins.bench.plan import Backend, choose_backends, choose_quantised
from twins.bench.run import run_cases
from twins.cli import INTERRUPTED, main
from twins.timing import Pace


@pytest.mark.usefixtures("narrow")
def test_the_command_writes_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--img-size", "56", "--batch-sizes", "1", "--blocks", "1", "--seconds", "0", "--against", "timm"]
    assert main(["bench", "--models", "svt_s", "--dtype", "fp32", *argv, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    (path,) = tmp_path.glob("cpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["backend"] for row in rows] == ["twins fp32", "twins frozen fp32", "timm eager fp32"]
    assert all(row["parity"] and row["backend"] in shown for row in rows)
    assert path.with_suffix(".png").exists()
    assert f"written to {path}" in shown


def test_json_alone_goes_to_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(SMALL, twins=5.0, timm=4.0)
    monkeypatch.setattr(run, "measure_case", lambda *_: Measured(rows))
    assert main(["bench", "--json", "--out", str(tmp_path), "-b", "1"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["rows"] == rows
    assert "1/1: classifier, twins_svt_small, 224 x 224, batch 1\n" in printed.err  # behind what is not installed


@pytest.mark.parametrize("raised", [True, False])
def test_ctrl_c_writes_what_there_is(
    raised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first blocks of the second case, or while they are timed."""
    rows = make_rows(SMALL, twins=5.0, timm=4.0)
    measured = [Measured(rows), Measured([row | {"batch": 2} for row in rows], stopped=True)]
    cases = iter(measured[:1] if raised else measured)

    def measure(*_: object) -> Measured:
        if (found := next(cases, None)) is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(run, "measure_case", measure)
    assert run_cases([SMALL._replace(batch=batch) for batch in (1, 2, 4)], Pace(), tmp_path) is False
    (path,) = tmp_path.glob("cpu-*.json")
    assert [row["batch"] for row in json.loads(path.read_text())["rows"]] == ([1, 1] if raised else [1, 1, 2, 2])
    assert capsys.readouterr().out.endswith("stopped before the end\n")


def test_backends_that_cannot_run_are_named_once_for_each_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(run, "missing", lambda backend, _: "not here" if backend.engine == "openvino" else None)
    monkeypatch.setattr(
        run, "measure_case", lambda case, *_: (started.append([b.title for b in case.backends]), Measured([]))[1]
    )
    case = SMALL._replace(backends=(Backend("twins"), Backend("openvino"), Backend("openvino", "bf16")))
    assert run_cases([case, case._replace(batch=2)], Pace(), tmp_path)
    assert started == [["twins fp32"]] * 2
    shown = capsys.readouterr().out
    assert shown.count("left out") == 1
    assert "OpenVINO fp32, OpenVINO bf16 left out: not here" in shown


@pytest.mark.parametrize(("argv", "cases"), [
    (["--models", "svt_s", "pcpvt_s", "-b", "4"], [
        SMALL._replace(network=name, size=(224, 224), batch=4, backends=choose_backends())
        for name in ("twins_svt_small", "twins_pcpvt_small")]),
    (["--backbone", "--img-size", "512", "800x1216", "-b", "1", "--against", "none"], [
        SMALL._replace(workload="backbone", size=size, backends=choose_backends(against=()))
        for size in ((512, 512), (800, 1216))]),
    (["--train", "--amp", "-b", "2"], [
        SMALL._replace(workload="training", size=(224, 224), batch=2,
                       backends=(Backend("twins", "bf16"), Backend("timm", "bf16")))]),
    (["--accuracy", "--against", "none"], [
        SMALL._replace(workload="accuracy", network="digits", size=(32, 32), backends=choose_quantised(()))]),
])  # fmt: skip
def test_flags_choose_the_cases(argv: list[str], cases: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    monkeypatch.setattr(run, "run_cases", lambda cases, *_: (found.extend(cases), True)[1])
    assert main(["bench", *argv]) == 0
    assert found == cases


@pytest.mark.parametrize(("argv", "pace", "threads"), [
    ([], Pace(5, 1.0, 180.0), None),
    (["--loading"], Pace(5, 1.0, 180.0), 1),
    (["--loading", "--threads", "2", "--blocks", "9", "--seconds", "0.5"], Pace(9, 0.5, 180.0), 2),
])  # fmt: skip
def test_flags_choose_the_pace(
    argv: list[str], pace: Pace, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[object] = []
    monkeypatch.setattr(run, "run_cases", lambda cases, *settings: (found.extend(settings), True)[1])
    assert main(["bench", *argv]) == 0
    assert found == [pace, Path("benchmarks"), threads, False]


def test_the_full_set_ends_with_the_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    monkeypatch.setattr(run, "run_cases", lambda cases, *_: (found.extend(c.workload for c in cases), False)[1])
    assert main(["bench", "--full"]) == INTERRUPTED
    assert found == ["products", *["classifier"] * 6, *["backbone"] * 2, "memory", *["training"] * 2, "accuracy"]


@pytest.mark.parametrize(("argv", "message"), [
    (["--models", "svt_smal"], "--models: unknown model 'svt_smal' (did you mean svt_small"),
    (["--img-size", "224x"], "argument --img-size/--imgsz: '224x' is neither a side"),
    (["--batch-sizes", "0"], "argument --batch-sizes/-b: must be 1 or more, not 0"),
    (["--blocks", "two"], "argument --blocks: invalid int value: 'two'"),
    (["--threads", "0"], "argument --threads: must be 1 or more, not 0"),
    (["--dtype", "fp16"], "argument --dtype: invalid choice: 'fp16'"),
    (["--against", "tensorrt"], "argument --against: invalid choice: 'tensorrt'"),
    (["--out", "/dev/null/x"], "--out /dev/null/x: cannot write there"),
    (["--amp"], "--amp is for training steps; add --train"),
    (["--train", "--memory"], "not allowed with argument"),
    (["--accuracy", "/dev/null/x.pth"], "/dev/null/x.pth"),
    (["--weights", "a.pth", "--models", "svt_s"], "--weights measures the forward passes of a checkpoint's classifier: "
     "leave --models out"),
    (["--weights", "a.pth", "--memory"], "leave --memory out"),
    (["--weights", "/dev/null/x.pth"], "/dev/null/x.pth"),
    (["--model", "svt_s"], "unknown argument --model (did you mean --models"),
])  # fmt: skip
def test_mistakes_get_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *argv]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
