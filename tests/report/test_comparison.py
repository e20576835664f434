"""Several runs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import refusal
from helpers.run_folders import write_run
from twins.cli import main
from twins.report.class_tables import gains_and_losses
from twins.report.comparison import Compared, read_comparison, write_comparison


def two_runs(root: Path) -> tuple[Path, Path]:
    first = write_run(root / "a", [50.0, 70.0], classes={"ant": 50.0, "bee": 80.0, "cat": 10.0})
    second = write_run(root / "b", [50.0, 65.0, 75.0], classes={"ant": 60.5, "bee": 70.0, "dog": 5.0}, lr=0.002)
    return first, second


def test_metrics_side_by_side(tmp_path: Path) -> None:
    rows = list(read_comparison(two_runs(tmp_path)).rows())
    assert rows[0] == Compared("Acc@1", ("70.00", "75.00"), (False, True))
    assert rows[1] == Compared("val loss", ("0.500", "0.333"), (False, True))  # of a loss less is better
    assert rows[2] == Compared("best epoch", ("1", "2"), (False, False))


def test_classes_that_gained_and_lost(tmp_path: Path) -> None:
    runs, labels = read_comparison(two_runs(tmp_path))
    table = gains_and_losses(runs, labels)
    assert table is not None
    assert table.columns == ("a", "b", "b \u2212 a")
    shown = {name: [cell.text for cell in cells] for name, cells in table.rows}
    assert list(shown)[:2] == ["bee", "ant"]  # what lost most first
    assert shown["bee"] == ["80.00", "70.00", "\u221210.00"]
    assert shown["ant"] == ["50.00", "60.50", "+10.50"]
    assert shown["dog"] == ["\u2013", "5.00", "\u2013"]


def test_the_page_and_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert main(["compare", *map(str, two_runs(tmp_path)), "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["a", "b"]
    assert printed[1].split() == ["Acc@1", "70.00", "75.00"]
    assert printed[-1] == f"look   {out}"
    text = out.read_text(encoding="utf-8")
    assert "<code>--lr</code></th><td>0.001</td><td>0.002</td>" in text
    assert text.count("<path ") == 2 * 4  # two losses, Acc@1, the learning rate
    assert 'class="loss">\u221210.00<' in text
    assert text.count('class="gain">') == 2 + 1  # the better Acc@1 and loss, and the class that gained


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / parent / "digits") for parent in ("one", "two")]
    assert read_comparison(folders).labels == tuple(map(str, folders))


def test_a_run_without_classes_is_compared_by_its_metrics(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in "abc"]
    write_comparison(read_comparison(runs), tmp_path / "page.html")
    assert "Classes that gained" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = map(str, two_runs(tmp_path))
    detect = str(write_run(tmp_path / "c", task="detect"))
    (tmp_path / "empty").mkdir()
    assert "two runs or more" in refusal(capsys, "compare", first)
    assert f"{first}: named twice" in refusal(capsys, "compare", first, f"{first}/")
    assert f"{detect}: a run to detect, but {first} is one to classify" in refusal(capsys, "compare", first, detect)
    assert "empty: no run of twins" in refusal(capsys, "compare", first, str(tmp_path / "empty"))
    assert "no such folder" in refusal(capsys, "compare", first, str(tmp_path / "nowhere"))
    in_file = f"{first}/log.txt/page.html"
    assert f"{in_file}: cannot be written" in refusal(capsys, "compare", first, second, "--out", in_file)
