"""Parts of the proofs that no work is lost: runs killed at random moments, faulty saves, power cuts, memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]
traced = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def rows_of(script: str, *arguments: str, out: Path) -> list[dict[str, Any]]:
    """What a script of the benchmarks writes; it ends with status 0 if nothing was lost."""
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *arguments, "--out", str(out)]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    (file,) = out.glob("*.json")
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return rows


@pytest.mark.timeout(1800)
def test_runs_killed_at_random_moments_end_with_the_same_bits(tmp_path: Path) -> None:
    rows = rows_of("kills", "--kills", "50", "--seed", "1", out=tmp_path)
    assert {(row["task"], row["processes"]) for row in rows} == {
        (task, processes) for task in ("classify", "segment", "detect") for processes in (1, 2, 4)
    }
    assert sum(row["kills"] for row in rows) >= 50
    assert [row["faults"] for row in rows] == [[]] * len(rows)


@traced
@pytest.mark.timeout(900)
def test_a_save_that_is_killed_or_fails_leaves_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    rows = rows_of("save_faults", "--calls", "openat", "write", "fsync", "rename", "link", "unlink", out=tmp_path)
    assert {row["fault"] for row in rows} == {"killed", "ENOSPC", "ENOSPC from here on", "EIO"}
    assert sum(row["tried"] for row in rows) > 50


@traced
@pytest.mark.timeout(900)
def test_a_power_cut_leaves_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    saves, run = rows_of("crash_states", "--states", "500", "--runs", "10", "--seed", "1", out=tmp_path)
    assert sum(saves["verdicts"].values()) == 500
    assert saves["verdicts"].keys() == {"old", "new", "none yet"}
    assert sum(run["verdicts"].values()) == 10
    assert run["verdicts"].keys() <= {"went on, the same bits", "was finished, the same bits"}
