"""What is read of a run's folder, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.run_folders import write_json, write_run
from twins.errors import TwinsError
from twins.report.run_files import Metric, Table, read_run, read_table


def test_epochs_and_the_best_of_them(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", [50.0, 70.0, 70.0, 60.0]))
    assert (run.task, run.name, run.best_metric) == ("classify", "a", "acc1")
    assert run.best is not None
    assert run.best["epoch"] == 1  # the first of equal ones
    assert run.results == {"acc1": 70.0, "loss": 0.5, "images": 360.0}
    assert run.series("acc1") == [(0, 50.0), (1, 70.0), (2, 70.0), (3, 60.0)]
    assert run.series("train_loss")[1] == (1, 1.0)


def test_a_run_of_main_py_and_of_earlier_versions(tmp_path: Path) -> None:
    """Their metrics begin with `test_`, and there is no setup.json."""
    folder = write_run(tmp_path / "a", [50.0, 70.0])
    (folder / "setup.json").unlink()
    log = folder / "log.txt"
    log.write_text(log.read_text().replace("val_", "test_"))
    run = read_run(folder)
    assert run.metrics == [Metric("acc1", "acc1", 2), Metric("loss", "loss", 3)]
    assert run.series("acc1") == [(0, 50.0), (1, 70.0)]


def test_values_that_are_no_numbers_are_left_out_of_curves(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [50.0, float("nan"), 70.0])
    assert read_run(folder).series("acc1") == [(0, 50.0), (2, 70.0)]


def test_an_epoch_that_was_run_twice_counts_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [50.0, 60.0])
    with (folder / "log.txt").open("a") as log:
        log.write('{"epoch": 1, "val_acc1": 65.0}\n')
    assert read_run(folder).series("acc1") == [(0, 50.0), (1, 65.0)]


def test_classes_without_a_metric_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", classes={"ant": 50.0, "bee": 75.0})
    with (folder / "per_class.csv").open("a") as table:
        table.write("cat,0,\n")
    run = read_run(folder)
    assert run.class_metric == "accuracy"
    assert run.class_values() == {"ant": 50.0, "bee": 75.0}


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"class,images\ncaf\xe9,3\n")
    assert read_table(tmp_path / "a.csv") == Table(["class", "images"], [["caf\udce9", "3"]])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("recipe.json", "{}", "no run of twins: there is no recipe.json with a task in it"),
        ("recipe.json", "[1]", "expected a JSON object"),
        ("recipe.json", "{", "not JSON"),
        ("recipe.json", '{"recipe": {"task": "cook"}}', "no run of twins"),
        ("log.txt", '{"epoch": 0}\n{"epo', "not JSON"),
        ("log.txt", '{"time": 0}\n', "not an epoch's JSON object"),
        ("setup.json", "[]", "expected a JSON object"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = write_run(tmp_path / "a")
    (folder / file).write_text(content)
    with pytest.raises(TwinsError, match=message) as caught:
        read_run(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "setup.json").write_text('{"metrics": [["acc1"]]}')
    with pytest.raises(TwinsError, match=r"setup.json: its metrics are no list"):
        _ = read_run(folder).metrics


def test_an_evaluation_of_an_earlier_version(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"acc1": 50.0})
    with pytest.raises(TwinsError, match="twins eval of this version writes one"):
        read_run(tmp_path)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(TwinsError, match="no run of twins"):
        read_run(tmp_path)
    with pytest.raises(TwinsError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    write_json(tmp_path / "recipe.json", {"recipe": {"task": "detect"}})
    assert read_run(tmp_path).epochs == ()
