"""Charts: of one file of results, and of the newest file of each CPU."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from helpers.bench_rows import MACHINE, SMALL, make_rows
from twins.bench.cpu_chart import draw_cpu_chart, main_cases, newest_of_each_cpu
from twins.bench.results_chart import draw_results_chart
from twins.bench.results_file import write_rows
from twins.bench.rows import Row


def test_the_chart_of_results_is_a_small_png(tmp_path: Path) -> None:
    """Nine panels in rows of three, wide enough for each."""
    rows: list[Row] = []
    for batch in range(1, 10):
        speeds = {"twins": 12.0, "frozen": 25.0, "timm": 10.0, "timm-compiled": 13.0, "openvino": 20.0}
        rows += make_rows(SMALL._replace(batch=batch), **speeds)
    path = tmp_path / "cpu-2026-01-01.json"
    write_rows(rows, MACHINE, {}, path)
    chart = draw_results_chart(path)
    assert chart == tmp_path / "cpu-2026-01-01.png"
    assert chart.stat().st_size < 60_000
    with Image.open(chart) as image:
        assert image.size == (972, int(90 * (0.24 * 15 + 0.75 * 3 + 0.5)))
        assert len(image.getcolors()) > 4  # bars of four engines and the ground


def test_the_chart_of_cpus_has_the_newest_file_of_each(tmp_path: Path) -> None:
    case = SMALL._replace(size=(224, 224))
    machines = [MACHINE, MACHINE | {"cpu": "Slide rule"}, MACHINE]
    for day, machine in enumerate(machines, 1):
        rows = make_rows(case, frozen=10.0 * day, timm=10.0)
        write_rows(rows, machine, {}, tmp_path / f"cpu-2026-01-0{day}.json")
    (tmp_path / "data-2026-01-01.json").write_text("{}")
    found = [(machine["cpu"], rows[0]["speedup_over_timm"]) for machine, rows in newest_of_each_cpu(tmp_path)]
    assert found == [("Abacus", 3.0), ("Slide rule", 2.0)]
    assert list(main_cases(rows)) == ["SVT-S, batch 1"]
    path = draw_cpu_chart(tmp_path)
    assert path == tmp_path / "cpu.png"
    assert path.stat().st_size < 80_000
    with Image.open(path) as image:
        assert image.size == (864, 90 * 4.5)


def test_nothing_to_compare_makes_no_chart(tmp_path: Path) -> None:
    path = tmp_path / "cpu-2026-01-01.json"
    write_rows(make_rows(SMALL, twins=1.0), MACHINE, {}, path)
    assert draw_results_chart(path) is None
    assert draw_cpu_chart(tmp_path) is None
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
