"""Where lines and ticks are drawn."""

from __future__ import annotations

import pytest

from twins.report.line_charts import BOTTOM, HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, Line, line_chart


def test_positions_of_points() -> None:
    chart = line_chart("loss", "epoch", [Line("a", [(0, 1.0), (1, 2.0), (2, 3.0)])], mark=(1, "best"))
    assert chart is not None
    (line,) = chart.lines
    across, up = (WIDTH - RIGHT - LEFT) / 2, (HEIGHT - BOTTOM - TOP) / (1 + 2 * 0.06)
    middle = TOP + (HEIGHT - BOTTOM - TOP) / 2
    expected = [(LEFT + i * across, middle + (0.5 - i / 2) * up) for i in range(3)]
    assert line.dots == tuple((round(x, 1), round(y, 1)) for x, y in expected)
    assert line.path.startswith(f"M{LEFT}.0 ")
    assert chart.mark == (line.dots[1][0], "best")


def test_ticks_are_round_and_within() -> None:
    chart = line_chart("acc", "epoch", [Line("a", [(0, 83.9), (39, 99.4)])])
    assert chart is not None
    assert [tick.text for tick in chart.y_ticks] == ["85", "90", "95", "100"]
    assert [tick.text for tick in chart.x_ticks] == ["0", "10", "20", "30"]
    assert all(TOP <= tick.position <= HEIGHT - BOTTOM for tick in chart.y_ticks)


def test_few_epochs_have_whole_ticks() -> None:
    chart = line_chart("acc", "epoch", [Line("a", [(0, 1.0), (1, 2.0)])])
    assert chart is not None
    assert [tick.text for tick in chart.x_ticks] == ["0", "1"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [([0, 1e-3], ["0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3"]), ([0, 2e-5], ["0", "5e-6", "1e-5", "1.5e-5", "2e-5"])],
)
def test_small_values_are_written_with_powers(values: list[float], texts: list[str]) -> None:
    chart = line_chart("lr", "epoch", [Line("a", list(enumerate(values)))])
    assert chart is not None
    assert [tick.text for tick in chart.y_ticks] == texts


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_a_constant_is_drawn_in_the_middle(value: float) -> None:
    chart = line_chart("acc", "epoch", [Line("a", [(0, value), (1, value)])])
    assert chart is not None
    assert {y for _, y in chart.lines[0].dots} == {TOP + (HEIGHT - BOTTOM - TOP) / 2}


def test_a_single_epoch() -> None:
    chart = line_chart("acc", "epoch", [Line("a", [(0, 5.0)])])
    assert chart is not None
    assert len(chart.lines[0].dots) == 1


def test_many_points_are_averaged() -> None:
    chart = line_chart("loss", "update", [Line("a", [(i, float(i % 2)) for i in range(10 * MOST_POINTS)])])
    assert chart is not None
    (line,) = chart.lines
    assert line.path.count("L") == MOST_POINTS - 1
    assert line.dots == ()


def test_lines_without_points_are_left_out() -> None:
    assert line_chart("loss", "epoch", []) is None
    assert line_chart("loss", "epoch", [Line("a", [])]) is None
    chart = line_chart("loss", "epoch", [Line("a", []), Line("b", [(0, 1.0)], 1)])
    assert chart is not None
    assert [(line.name, line.colour) for line in chart.lines] == [("b", 1)]
