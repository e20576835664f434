"""`twins bench`: who gets a figure, by which order, and what becomes of it. No test asks how quick anything is."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from twins.bench import accuracy, measuring, run_cases, timing
from twins.bench import backends as contenders
from twins.bench.accuracy import accuracy_case, digits_weights, load_trained, measure_accuracy
from twins.bench.backends import draw_weights, infer, missing, our_network, start, timm_network
from twins.bench.chart import draw_chart, relative_speeds
from twins.bench.measuring import Checked, check_all, time_runners
from twins.bench.memory import measure_memory
from twins.bench.own_process import OwnProcess
from twins.bench.parity import Parity, compare
from twins.bench.plan import PEERS, Case, Contender, choose_contenders, choose_quantised, choose_training, full_set
from twins.bench.quantised import draw_calibration
from twins.bench.results import DIFFERS, Row, add_ratios, results_file, row_of, speed_row, table_of, write_rows
from twins.bench.runners import runner
from twins.bench.summary_chart import draw_summary, main_cases, newest_of_each_cpu
from twins.bench.timing import Pace, alternate
from twins.bench.training import start_training
from twins.cli import main
from twins.errors import TwinsError
from twins.native import library

SMALL = Case("classifier", "twins_svt_small", (56, 56), 1, choose_contenders(("fp32",), ()))
MACHINE = {"processor": "Abacus", "instruction_sets": ["beads"], "threads": 2}


class Clock:
    """Time that passes only while something is called, to the second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def task(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            self.now += seconds

        return call


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PAUSE", 0.0)
    monkeypatch.setattr(timing, "matmul_speed", lambda dtype, threads, seconds: 100.0)
    monkeypatch.setattr(timing, "_torch_speed", lambda dtype, seconds: 80.0)


def test_blocks_take_turns_and_the_first_round_does_not_count() -> None:
    clock, times = Clock(), {}
    calls = {"a": clock.task("a", 2.0), "b": clock.task("b", 5.0)}
    rounds: list[int] = []
    alternate(calls, Pace(blocks=3, seconds=4.0), times, lambda: rounds.append(len(clock.calls)), clock)
    assert clock.calls == ["a", "a", "b"] * 4
    assert times == {"a": [2.0] * 3, "b": [5.0] * 3}
    assert rounds == [3, 6, 9, 12]


def test_no_round_begins_after_the_limit_but_one_is_measured() -> None:
    clock, times = Clock(), {}
    alternate({"a": clock.task("a", 60.0)}, Pace(blocks=9, seconds=1.0, limit=100.0), times, clock=clock)
    assert times == {"a": [60.0]}


def test_the_roofline_is_the_median_of_the_better_product(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = iter([100.0, 300.0, 70.0])
    monkeypatch.setattr(timing, "no_engine", lambda: None)
    monkeypatch.setattr(timing, "matmul_speed", lambda dtype, threads, seconds: next(ours))
    roofline = timing.Roofline({"fp32"})
    for _ in range(3):
        roofline.measure()
    assert (roofline.gflops("fp32"), roofline.gflops("int8")) == (100.0, 0.0)


def test_a_wrong_answer_gets_no_figure() -> None:
    reference = [torch.linspace(-3, 3, 1000)]
    right = runner(Contender("timm"), lambda: reference)
    wrong = runner(Contender("onnxruntime"), lambda: [reference[0] + 1e-3])
    said: list[str] = []
    measured = time_runners(SMALL, check_all([right, wrong], reference, said.append), Pace(1, 0.0))
    good, bad = measured.rows
    assert good["times_timm"] == 1.0
    assert "images_per_second" not in bad
    assert (bad["parity"], said) == (False, [])
    assert bad["error"] == pytest.approx(1e-3 / 3, rel=1e-3)
    shown = printed(measured.rows)
    assert "differs" in next(line for line in shown.splitlines() if "ONNX Runtime" in line)
    assert "differs" not in next(line for line in shown.splitlines() if "timm eager" in line)


@pytest.mark.parametrize(("contender", "scale", "holds"), [
    (Contender("frozen"), 1 + 0.5e-5, True),
    (Contender("frozen"), 1 + 2e-5, False),
    (Contender("openvino"), 1 + 2e-5, True),
    (Contender("openvino"), 1 + 2e-4, False),
    (Contender("frozen", "bf16"), 1.04, True),
    (Contender("frozen", "bf16"), 1.06, False),
    (Contender("frozen", "int8"), 1.19, True),
    (Contender("frozen", "int8"), 1.21, False),
    (Contender("frozen", "int8"), math.nan, False),
    (Contender("openvino", "int8"), 1.19, True),
    (Contender("openvino", "int8"), 1.21, False),
])  # fmt: skip
def test_bounds(contender: Contender, scale: float, holds: bool) -> None:
    reference = torch.randn(4, 1000) * 5
    assert compare(contender, [reference * scale], [reference]).holds is holds


@pytest.mark.parametrize(("contender", "scale", "timed"), [
    (Contender("openvino", "int8"), 1.9, True),
    (Contender("openvino", "int8"), 2.1, False),
    (Contender("openvino", "int8"), math.nan, False),
    (Contender("frozen", "int8"), 1.21, False),
    (Contender("openvino", "bf16"), 1.06, False),
])  # fmt: skip
def test_only_int8_of_others_is_timed_beyond_its_bound(contender: Contender, scale: float, timed: bool) -> None:
    reference = torch.randn(4, 1000)
    parity = compare(contender, [reference * scale], [reference])
    assert (parity.holds, parity.timed) == (False, timed)


def test_a_speed_with_another_output_is_marked() -> None:
    reference = [torch.linspace(-3, 3, 1000)]
    far = runner(Contender("onnxruntime", "int8"), lambda: [1.3 * reference[0]], "int8", "82 of 97 products, rest fp32")
    (row,) = time_runners(SMALL, check_all([far], reference, pytest.fail), Pace(1, 0.0)).rows
    assert row["parity"] is False
    assert row["images_per_second"] > 0
    assert (row["executed"], row["note"]) == ("82 of 97 products, rest fp32", DIFFERS)
    shown = printed([row])
    assert "3.0e-01 !" in shown
    assert f"ONNX Runtime int8: 82 of 97 products, rest fp32; {DIFFERS}" in " ".join(shown.split())


def test_the_worst_of_several_maps_counts() -> None:
    maps = [torch.ones(1, 2, 4, 4), torch.ones(1, 4, 2, 2)]
    off = [maps[0], maps[1] * 2]
    assert compare(Contender("twins"), off, maps) == Parity(1.0, 1e-5)
    assert compare(Contender("twins"), [maps[0], maps[1] * math.nan], maps).holds is False
    assert compare(Contender("twins"), maps[:1], maps).holds is False


def test_who_fails_is_named_and_the_others_go_on() -> None:
    def fail() -> list[Tensor]:
        raise RuntimeError("no such operator\nand a long story")

    said: list[str] = []
    answer = [torch.ones(2)]
    runners = [runner(Contender("openvino"), fail), runner(Contender("twins"), lambda: answer)]
    assert [c.runner.contender.engine for c in check_all(runners, answer, said.append)] == ["twins"]
    assert said == ["OpenVINO fp32 left out: RuntimeError: no such operator"]


def test_figures_from_times() -> None:
    """Four images in a median of 2 s, of 3 GFLOP each, on 12 GFLOP/s."""
    row = speed_row(row_of(SMALL, "twins fp32"), Parity(0.0, 1.0), [9.0, 2.0, 1.0], 4, 12.0, 3e9)
    assert (row["images_per_second"], row["ms_per_image"], row["blocks"]) == (2.0, 500.0, 3)
    assert row["of_roofline"] == pytest.approx(0.5)


def test_ratios_are_to_timm_and_to_the_same_type_of_openvino() -> None:
    speeds = {("timm", "fp32"): 10.0, ("openvino", "fp32"): 20.0, ("openvino", "bf16"): 40.0, ("frozen", "bf16"): 50.0}
    rows = [row_of(SMALL, Contender(*who).title) | {"images_per_second": speed} for who, speed in speeds.items()]
    add_ratios(rows)
    assert [row["times_timm"] for row in rows] == [1.0, 2.0, 4.0, 5.0]
    assert [row.get("times_openvino") for row in rows] == [0.5, 1.0, 1.0, 1.25]


def test_int8_is_put_beside_int8_of_both_runtimes() -> None:
    speeds = {("timm", "fp32"): 10.0, ("timm", "bf16"): 5.0, ("openvino", "int8"): 40.0, ("onnxruntime", "int8"): 20.0}
    speeds |= {("frozen", "bf16"): 20.0, ("frozen", "int8"): 80.0}
    rows = [row_of(SMALL, Contender(*who).title) | {"images_per_second": speed} for who, speed in speeds.items()]
    add_ratios(rows)
    bf16, int8 = rows[-2:]
    assert (bf16["times_timm"], "times_openvino" in bf16, "times_onnxruntime" in bf16) == (4.0, False, False)
    assert (int8["times_timm"], int8["times_openvino"], int8["times_onnxruntime"]) == (8.0, 2.0, 4.0)


def test_a_stop_keeps_complete_blocks() -> None:
    """Ctrl-C in the third round: one block of each is complete."""
    calls: list[str] = []

    def work(name: str) -> Callable[[], list[Tensor]]:
        def call() -> list[Tensor]:
            calls.append(name)
            if calls.count(name) == 3:
                raise KeyboardInterrupt
            return [torch.ones(1)]

        return call

    both = [runner(Contender(engine), work(engine)) for engine in ("twins", "timm")]
    checked = [Checked(r, Parity(0.0, 1.0), 0.0) for r in both]
    measured = time_runners(SMALL, checked, Pace(5, 0.0))
    assert measured.stopped
    assert [row["blocks"] for row in measured.rows] == [1, 1]


def test_first_answers_are_the_figures_where_they_take_too_long() -> None:
    never = runner(Contender("twins"), lambda: pytest.fail("called again"))
    measured = time_runners(SMALL, [Checked(never, Parity(0.0, 1.0), 200.0)], Pace(limit=180.0))
    assert (measured.rows[0]["ms_per_image"], measured.rows[0]["blocks"]) == (200_000.0, 1)


def fake_rows(case: Case, **speeds: float) -> list[Row]:
    rows = []
    for engine, speed in speeds.items():
        peak, flops = 100.0, 1e9
        row = row_of(case, Contender(engine).title, "ran fp32" if engine == "openvino" else "")
        rows.append(speed_row(row, Parity(2e-6, 1e-5), [1 / speed], 1, peak, flops))
    add_ratios(rows)
    return rows


def keep(rows: list[Row], machine: dict[str, object], versions: dict[str, str], folder: Path) -> Path:
    path = results_file(machine, folder)
    write_rows(rows, machine, versions, path)
    return path


def printed(rows: list[Row]) -> str:
    text = StringIO()
    Console(file=text, width=120).print(table_of(SMALL, rows, MACHINE))
    return text.getvalue()


def test_the_table_shows_the_figures() -> None:
    shown = printed(fake_rows(SMALL, twins=12.5, timm=10.0, openvino=20.0))
    assert "classifier, twins_svt_small, 56 x 56, batch 1" in shown
    assert "Abacus, 2 threads" in shown
    ours = next(line for line in shown.splitlines() if "twins fp32" in line)
    assert ours.split() == ["twins", "fp32", "12.50", "80.0", "1.25", "0.62", "12", "12%", "2.0e-06"]
    assert "OpenVINO fp32: ran fp32" in shown
    assert "peak MB" not in shown


def test_calls_of_a_day_share_a_file(tmp_path: Path) -> None:
    first = keep(fake_rows(SMALL, twins=1.0, timm=2.0), MACHINE, {"torch": "1"}, tmp_path)
    other_batch = SMALL._replace(batch=2)
    again = [*fake_rows(SMALL, timm=3.0), *fake_rows(other_batch, timm=4.0)]
    assert keep(again, MACHINE, {"torch": "2"}, tmp_path) == first
    kept = json.loads(first.read_text())
    assert kept["machine"] == MACHINE
    found = [(r["contender"], r["batch"], round(r["images_per_second"], 6), r["versions"]["torch"])
             for r in kept["rows"]]  # fmt: skip
    assert found == [("twins fp32", 1, 1.0, "1"), ("timm eager fp32", 1, 3.0, "2"), ("timm eager fp32", 2, 4.0, "2")]


def test_another_machine_gets_a_file_of_its_own(tmp_path: Path) -> None:
    first = keep(fake_rows(SMALL, twins=1.0), MACHINE, {}, tmp_path)
    second = keep(fake_rows(SMALL, twins=9.0), MACHINE | {"threads": 8}, {}, tmp_path)
    assert second.name == first.stem + "-2.json"
    assert statistics.mean(r["images_per_second"] for r in json.loads(first.read_text())["rows"]) == pytest.approx(1.0)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = results_file(MACHINE, tmp_path)
    path.write_text("[1, 2]")
    with pytest.raises(TwinsError, match="not a file of results"):
        results_file(MACHINE, tmp_path)


def test_the_chart_is_a_small_image(tmp_path: Path) -> None:
    rows: list[Row] = []
    for batch in range(1, 10):
        speeds = {"twins": 12.0, "frozen": 25.0, "timm": 10.0, "timm-compiled": 13.0, "openvino": 20.0}
        rows += fake_rows(SMALL._replace(batch=batch), **speeds)
    chart = draw_chart(keep(rows, MACHINE, {}, tmp_path))
    assert chart is not None
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert chart.stat().st_size < 60_000


def test_bars_are_relative_to_timm_in_float32() -> None:
    """In training to timm's of the same precision."""
    speeds = {("timm", "fp32"): 10.0, ("timm", "bf16"): 5.0, ("frozen", "bf16"): 20.0}
    for what, expected in (("classifier", [1.0, 0.5, 2.0]), ("training", [1.0, 1.0, 4.0])):
        case = SMALL._replace(what=what)
        rows = [row_of(case, Contender(*who).title) | {"images_per_second": speed} for who, speed in speeds.items()]
        add_ratios(rows)
        assert [row["relative"] for row in relative_speeds(rows)] == expected


def test_the_summary_has_the_newest_file_of_each_cpu(tmp_path: Path) -> None:
    case = SMALL._replace(size=(224, 224))
    machines = [MACHINE, MACHINE | {"processor": "Slide rule"}, MACHINE]
    for day, machine in enumerate(machines, 1):
        rows = fake_rows(case, frozen=10.0 * day, timm=10.0)
        write_rows(rows, machine, {}, tmp_path / f"cpu-2026-01-0{day}.json")
    (tmp_path / "data-2026-01-01.json").write_text("{}")
    found = [(machine["processor"], rows[0]["times_timm"]) for machine, rows in newest_of_each_cpu(tmp_path)]
    assert found == [("Abacus", 3.0), ("Slide rule", 2.0)]
    assert list(main_cases(rows)) == ["SVT-S, batch 1"]
    path = draw_summary(tmp_path)
    assert path == tmp_path / "cpu.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size < 80_000


def test_nothing_to_compare_makes_no_chart(tmp_path: Path) -> None:
    assert draw_chart(keep(fake_rows(SMALL, twins=1.0), MACHINE, {}, tmp_path)) is None
    assert draw_summary(tmp_path) is None


def test_contenders_take_the_types_they_know() -> None:
    titles = [contender.title for contender in choose_contenders()]
    assert titles == [
        *("twins fp32", "twins frozen fp32", "twins frozen bf16", "twins frozen int8", "timm eager fp32"),
        *("timm eager bf16", "timm compiled fp32", "timm compiled bf16", "ONNX Runtime fp32", "ONNX Runtime int8"),
        *("OpenVINO fp32", "OpenVINO bf16", "OpenVINO int8"),
    ]
    int8 = [c.title for c in choose_contenders(("int8",), PEERS)]
    assert int8 == ["twins frozen int8", "ONNX Runtime int8", "OpenVINO int8"]
    assert [c.title for c in choose_training((), amp=True)] == ["twins bf16"]


@pytest.mark.skipif(library.missing() is not None, reason="the engine is not built")
def test_products_are_measured_for_every_instruction_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the choice of an instruction set rests on: a row for each and dtype, the chosen ones marked."""
    speeds = {name: 100.0 + i for i, name in enumerate(library.instruction_sets())}
    monkeypatch.setattr(measuring, "matmul_speeds", lambda dtype, threads, seconds: speeds)
    assert main(["bench", "--products", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("cpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert {row["contender"]: row["gflops"] for row in rows} == {
        f"{name} {dtype}": speed for dtype in ("fp32", "bf16", "int8") for name, speed in speeds.items()
    }
    chosen = {row["contender"] for row in rows if row["note"] == "chosen"}
    assert chosen == {f"{library.instruction_set(dtype)} {dtype}" for dtype in ("fp32", "bf16", "int8")}
    assert "GFLOP/s" in capsys.readouterr().out


def test_the_full_set_covers_what_is_published() -> None:
    cases = full_set()
    forward = {(c.network, c.batch) for c in cases if c.what == "classifier"}
    assert forward == {(n, b) for n in ("twins_svt_small", "twins_svt_base", "twins_pcpvt_small") for b in (1, 16)}
    assert {c.size for c in cases if c.what == "backbone"} == {(512, 512), (800, 1216)}
    assert [c.contenders[0].title for c in cases if c.what == "training"] == ["twins fp32", "twins bf16"]
    assert sum(c.what == "memory" for c in cases) == 1
    compiled = {c.network for c in cases for who in c.contenders if who.engine == "timm-compiled"}
    assert compiled == {"twins_svt_small"}
    for case in cases:
        if case.what == "classifier":
            assert {who.dtype for who in case.contenders if who.engine == "openvino"} == {"fp32", "bf16", "int8"}
        if case.what == "backbone":
            assert {who.dtype for who in case.contenders} == {"fp32", "bf16"}


@pytest.mark.parametrize("what", ["classifier", "backbone"])
@pytest.mark.parametrize("size", [(56, 56), (60, 90)])
def test_timm_answers_the_same_where_windows_stick_out(what: str, size: tuple[int, int]) -> None:
    case = SMALL._replace(what=what, size=size)
    weights, images = draw_weights(case), torch.randn(2, 3, *size)
    answers = [infer(make(case, weights), images) for make in (our_network, timm_network)]
    assert len(answers[0]) == (4 if what == "backbone" else 1)
    assert compare(Contender("twins"), answers[1], answers[0]).holds


def test_drawn_weights_leave_nothing_idle() -> None:
    weights = draw_weights(SMALL)
    assert all(weight.abs().max() > 0.05 for weight in weights.values())
    assert torch.equal(weights["head.bias"], draw_weights(SMALL)["head.bias"])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_training_steps_are_the_same_work(dtype: str) -> None:
    case = SMALL._replace(what="training", batch=2)
    weights, images = draw_weights(case), torch.randn(2, 3, 56, 56)
    reference = [t.clone() for t in start_training(Contender("twins"), case, weights, images).answer()]
    theirs = start_training(Contender("timm", dtype), case, weights, images)
    assert reference[1].abs().max() > 1e-3
    assert compare(theirs.contender, theirs.answer(), reference).holds
    loss = float(reference[0])
    theirs.work()
    assert float(theirs.answer()[0]) < loss  # it learns


def broken(message: str) -> dict[str, Callable[[], object]]:
    """Calls of a process: one that fails, one that ends it."""
    if message == "at once":
        raise ValueError(message)

    def fail() -> None:
        raise KeyError(message)

    return {"fail": fail, "end": lambda: os._exit(3)}


def test_errors_of_another_process_are_raised_here() -> None:
    with pytest.raises(ValueError, match="at once"):
        OwnProcess(broken, "at once")
    with pytest.raises(KeyError, match="later"):
        OwnProcess(broken, "later").call("fail")
    with pytest.raises(RuntimeError, match="its process died"):
        OwnProcess(broken, "later").call("end")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_other_engines_answer_the_same(engine: str, tmp_path: Path) -> None:
    for module in ("onnx", "onnxscript", engine):
        pytest.importorskip(module)
    case = SMALL._replace(size=(60, 90))
    weights, images = draw_weights(case), torch.randn(1, 3, 60, 90)
    reference = infer(our_network(case, weights), images)
    found = start(Contender(engine), case, lambda: weights, images, tmp_path)
    assert found.ran == "fp32"
    assert compare(found.contender, found.answer(), reference).holds


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "quantiser"), [("onnxruntime", "onnxruntime"), ("openvino", "nncf")])
def test_int8_of_other_engines_is_executed_and_close(
    engine: str, quantiser: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured: 7 and 12 % from float32 (at 224 x 224 both 3 %); 82 linear layers and most convolutions are in int8."""
    for module in ("onnx", "onnxscript", engine, quantiser):
        pytest.importorskip(module)
    weights, images = draw_weights(SMALL), torch.randn(1, 3, 56, 56)
    reference = infer(our_network(SMALL, weights), images)
    found = start(Contender(engine, "int8"), SMALL, lambda: weights, images, tmp_path)
    parity = compare(found.contender, found.answer(), reference)
    assert parity.holds
    assert parity.error > 0.001
    assert found.ran == "int8"
    assert 80 <= int(found.executed.split()[0]) <= 100
    assert capsys.readouterr().out == ""
    again = start(Contender(engine, "int8"), SMALL, lambda: pytest.fail("exported again"), images, tmp_path)
    assert torch.equal(again.answer()[0], found.answer()[0])


def test_calibration_is_always_on_the_same_images() -> None:
    images = draw_calibration(8, (6, 5))
    assert [tuple(batch.shape) for batch in images] == [(8, 3, 6, 5)] * 2
    assert torch.equal(torch.cat(images), torch.cat(draw_calibration(8, (6, 5))))
    assert [len(draw_calibration(batch, (6, 5))) for batch in (1, 16, 32)] == [16, 1, 1]


def test_what_is_missing_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda name: None if name == "nncf" else object())
    monkeypatch.setitem(contenders.IN_HARDWARE, torch.bfloat16, False)
    assert missing(Contender("openvino", "int8"), "classifier") == (
        'nncf not installed; run: pip install "twins-vit[bench]"'
    )
    assert missing(Contender("openvino", "bf16"), "classifier") is None
    assert "no bfloat16" in str(missing(Contender("timm-compiled", "bf16"), "classifier"))
    assert missing(Contender("timm", "bf16"), "training") is None


@pytest.mark.parametrize("engine", ["timm", pytest.param("timm-compiled", marks=pytest.mark.slow)])
def test_timm_under_autocast_is_close(engine: str, tmp_path: Path) -> None:
    weights, images = draw_weights(SMALL), torch.randn(1, 3, 56, 56)
    reference = infer(our_network(SMALL, weights), images)
    found = start(Contender(engine, "bf16"), SMALL, lambda: weights, images, tmp_path)
    assert 1e-4 < compare(found.contender, found.answer(), reference).error < 0.03


def test_accuracy_of_a_network_that_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of the digits; the newest finished run is taken the next time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accuracy, "EPOCHS", 1)
    said: list[str] = []
    weights = digits_weights(said.append)
    assert said == ["no finished run of the digits below runs/: training one of 1 epochs"]
    assert digits_weights(pytest.fail) == weights == Path("runs/classify/digits/checkpoint_best.pth")
    trained = load_trained(weights)
    assert (len(trained.images), len(trained.calibration)) == (360, 128)
    assert trained.images[0].shape == trained.calibration[0].shape == (1, 1, 32, 32)
    right = (trained.reference.argmax(dim=1) == trained.labels).float().mean()
    plain = measure_accuracy(Contender("twins"), trained, tmp_path)
    assert plain == (pytest.approx(100 * float(right)), 0.0, "")
    if library.missing() is None:
        int8 = measure_accuracy(Contender("frozen", "int8"), trained, tmp_path)
        assert 1e-4 < int8.error < 0.1
        assert abs(int8.top1 - plain.top1) < 2
    case = accuracy_case(weights, choose_quantised(["openvino"]))
    assert (case.size, case.batch, case.network) == ((32, 32), 1, str(weights))
    assert [c.title for c in case.contenders][4:] == ["OpenVINO bf16", "OpenVINO int8"]


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "quantiser"), [("onnxruntime", "onnxruntime"), ("openvino", "nncf")])
def test_int8_of_others_keeps_the_accuracy(
    engine: str, quantiser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("onnx", "onnxscript", engine, quantiser):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    trained = load_trained(digits_weights(print))
    plain = measure_accuracy(Contender("twins"), trained, tmp_path)
    found = measure_accuracy(Contender(engine, "int8"), trained, tmp_path)
    assert plain.top1 > 90
    assert abs(found.top1 - plain.top1) < 1
    assert 1e-4 < found.error < 0.1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_holds_the_weights_at_least(tmp_path: Path) -> None:
    found = measure_memory(Contender("twins"), SMALL._replace(what="memory"), tmp_path)
    assert found.peak >= found.held >= 24_060_776 * 4 / 1e6 * 0.95


def test_the_command_writes_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--img-size", "56", "--batch-sizes", "1", "--blocks", "1", "--seconds", "0", "--against", "timm"]
    assert main(["bench", "--models", "svt_s", "--dtype", "fp32", *argv, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    (path,) = tmp_path.glob("cpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["contender"] for row in rows] == ["twins fp32", "twins frozen fp32", "timm eager fp32"]
    assert all(row["parity"] and row["contender"] in shown for row in rows)
    assert path.with_suffix(".png").exists()
    assert f"written to {path}" in shown


def test_ctrl_c_between_cases_writes_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = [measuring.Measured(fake_rows(SMALL, twins=5.0, timm=4.0))]

    def measure(*_: object) -> measuring.Measured:
        if not done:
            raise KeyboardInterrupt
        return done.pop()

    monkeypatch.setattr("twins.bench.measure_case", measure)
    assert run_cases([SMALL, SMALL._replace(batch=2)], Pace(), tmp_path) is False
    assert len(json.loads(next(tmp_path.glob("cpu-*.json")).read_text())["rows"]) == 2
    assert "stopped before the end" in capsys.readouterr().out


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
    (["--model", "svt_s"], "unknown argument --model (did you mean --models"),
])  # fmt: skip
def test_mistakes_get_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *argv]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
