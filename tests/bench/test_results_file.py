"""Files of results: one a day and machine, merged row by row, old ones too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers.bench_rows import MACHINE, SMALL, make_rows
from twins.bench.cpu_chart import draw_cpu_chart, main_cases
from twins.bench.results_chart import draw_results_chart
from twins.bench.results_file import read_results, todays_file, write_rows
from twins.errors import TwinsError

PUBLISHED = Path(__file__).parents[2] / "benchmarks"


def test_calls_of_a_day_share_a_file(tmp_path: Path) -> None:
    path = todays_file(MACHINE, tmp_path)
    write_rows(make_rows(SMALL, twins=1.0, timm=2.0), MACHINE, {"torch": "1"}, path)
    assert todays_file(MACHINE, tmp_path) == path
    again = [*make_rows(SMALL, timm=3.0), *make_rows(SMALL._replace(batch=2), timm=4.0)]
    write_rows(again, MACHINE, {"torch": "2"}, path)
    content = json.loads(path.read_text())
    assert content["machine"] == MACHINE
    found = [(r["backend"], r["batch"], round(r["images_per_second"], 6), r["versions"]["torch"])
             for r in content["rows"]]  # fmt: skip
    assert found == [("twins fp32", 1, 1.0, "1"), ("timm eager fp32", 1, 3.0, "2"), ("timm eager fp32", 2, 4.0, "2")]


def test_another_machine_gets_a_file_of_its_own(tmp_path: Path) -> None:
    first = todays_file(MACHINE, tmp_path)
    write_rows(make_rows(SMALL, twins=1.0), MACHINE, {}, first)
    assert todays_file(MACHINE | {"threads": 8}, tmp_path) == tmp_path / f"{first.stem}-2.json"


@pytest.mark.parametrize("text", ["[1, 2]", "{}", "no JSON", '{"machine": {}, "rows": [1]}'])
def test_a_file_of_something_else_is_left_alone(text: str, tmp_path: Path) -> None:
    path = todays_file(MACHINE, tmp_path)
    path.write_text(text)
    with pytest.raises(TwinsError, match="not a file of results"):
        todays_file(MACHINE, tmp_path)
    assert path.read_text() == text


def test_files_with_the_keys_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """The published ones: the first row of the Xeon, as docs/speed.md has it, and speeds beside timm's."""
    machine, rows = read_results(PUBLISHED / "cpu-2026-11-28.json")
    assert (machine["cpu"], machine["threads"]) == ("Intel(R) Xeon(R) Processor", 2)
    key = ("classifier", "twins_svt_small", 1)
    case = [row for row in rows if (row["workload"], row["network"], row["batch"]) == key]
    frozen = next(row for row in case if row["backend"] == "twins frozen bf16")
    assert round(frozen["images_per_second"], 2) == 145.13
    assert round(frozen["speedup_over_openvino"], 2) == 2.31
    assert frozen["actual_dtype"] == "bf16"
    assert [title for title in main_cases(rows) if "SVT-S" in title] == ["SVT-S, batch 1", "SVT-S, batch 16"]
    for name in ("cpu-2026-11-25.json", "data-2026-11-26.json"):
        shutil.copy(PUBLISHED / name, tmp_path)
        assert draw_results_chart(tmp_path / name) == (tmp_path / name).with_suffix(".png")
    assert draw_cpu_chart(tmp_path) == tmp_path / "cpu.png"


def test_rows_replace_those_with_the_keys_of_earlier_versions(tmp_path: Path) -> None:
    path = todays_file(MACHINE, tmp_path)
    old = {"what": "classifier", "network": "twins_svt_small", "size": "56x56", "batch": 1, "times_anchor": 2.0}
    rows = [old | {"contender": "twins fp32"}, old | {"contender": "OpenVINO fp32"}]
    path.write_text(json.dumps({"machine": {"processor": "Abacus", "instruction_sets": ["beads"], "threads": 2},
                                "rows": rows}))  # fmt: skip
    assert todays_file(MACHINE, tmp_path) == path
    write_rows(make_rows(SMALL, twins=1.0), MACHINE, {}, path)
    ours, openvino = json.loads(path.read_text())["rows"]
    assert (ours["backend"], round(ours["images_per_second"], 6)) == ("twins fp32", 1.0)
    assert (openvino["backend"], openvino["speedup_over_baseline"]) == ("OpenVINO fp32", 2.0)
    assert old.keys() & {"what", "times_anchor"} & openvino.keys() == set()


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TwinsError, match=r"--out .*file: cannot write there"):
        todays_file(MACHINE, tmp_path / "file")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "cpu-2026-01-01.json"
    with pytest.raises(TwinsError, match=r"cpu-2026-01-01.json: cannot be written \(.*\); choose another --out"):
        write_rows([], MACHINE, {}, path)
