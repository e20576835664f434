"""The loads of `benchmarks/serving.py` in small: none finds a fault, and each would."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import serving
from helpers.servers import listening
from loads import malformed, mixed, stops
from loads.clients import outcomes
from loads.malformed import Malformed
from loads.mixed import Oracle
from loads.networks import write_tiny_networks
from twins.serve.models import ServedModel, open_models
from twins.serve.settings import ServeSettings


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_tiny_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def models(files: dict[str, Path]) -> list[ServedModel]:
    return open_models(ServeSettings(tuple(f"{name}={file}" for name, file in files.items()), device="cpu"))


def test_mixed_requests_get_each_its_own_answer(files: dict[str, Path], models: list[ServedModel]) -> None:
    oracle = Oracle(files)
    with listening(models, ServeSettings((), request_log=False)) as address:
        assert Counter(outcomes("mixed", address, 120, 12, oracle.ask)) == {"right": 120}


def test_the_oracle_notices_a_swapped_answer(files: dict[str, Path], models: list[ServedModel]) -> None:
    oracle = Oracle(files)
    for expected in oracle.expected.values():
        expected.append(expected.pop(0))  # each image's prediction is now taken for another's
    with listening(models, ServeSettings((), request_log=False)) as address:
        assert set(outcomes("mixed", address, 30, 4, oracle.ask)) == {"a wrong prediction"}


def test_malformed_requests_have_each_an_answer(models: list[ServedModel], capsys: pytest.CaptureFixture[str]) -> None:
    settings = ServeSettings((), request_log=False, max_upload_mb=1)
    with listening(models, settings) as address:
        wrong = Malformed(address)
        verdicts = Counter(outcomes("malformed", address, 180, 4, wrong.ask))
    assert verdicts.total() == 180
    assert [verdict for verdict in verdicts if verdict.startswith("fault")] == []
    assert len({verdict.split()[0] for verdict in verdicts}) == len(wrong.kinds)
    assert "Traceback" not in capsys.readouterr().err


def test_every_accepted_request_is_answered_once_when_a_server_stops() -> None:
    row = stops.measure(1)
    assert row["faults"] == {}
    assert row["answers"]["status 200"] > 1
    assert set(row["answers"]) <= {"status 200", "status 503", "status none"}


@pytest.mark.parametrize(("row", "good"), [
    ({"faults": {}, "exit_status": 0}, True),
    ({"wrong": {"a wrong prediction": 1}}, False),
    ({"exit_status": -15}, False),
    ({"megabytes_grown": 51.0}, False),
    ({"megabytes_when_warm_and_after": [700, 760]}, False),
    ({"well_afterwards": False}, False),
])  # fmt: skip
def test_what_counts_as_passed(row: dict[str, Any], good: bool) -> None:
    assert serving.passed(row) is good


def test_a_part_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(serving.PARTS, "mixed", (lambda count: {"part": "mixed", "requests": count}, 7))
    monkeypatch.setattr("sys.argv", ["serving.py", "--mixed", "--out", str(tmp_path)])
    assert serving.main() == 0
    assert json.loads(capsys.readouterr().out) == {"part": "mixed", "requests": 7}
    (written,) = tmp_path.glob("serving-*.json")
    assert json.loads(written.read_text())["rows"][0]["requests"] == 7


@pytest.mark.slow
@pytest.mark.parametrize(("measure", "count"), [(mixed.measure, 3000), (malformed.measure, 3000), (stops.measure, 10)])
def test_each_part_with_a_server_of_its_own(measure: Any, count: int) -> None:
    assert serving.passed(measure(count))
