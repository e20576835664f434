"""A folder takes one run at a time, and a run that is gone leaves it free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from twins.errors import TwinsError
from twins.run_lock import LOCK, only_run_in

HOLDS = """
import sys, time
from pathlib import Path
from twins.run_lock import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TwinsError) as refused, only_run_in(folder):
            pass
        holder.kill()
    assert str(refused.value).startswith(f"{folder}: another run writes there (process {holder.pid} on ")
    assert "give another --name" in str(refused.value)
    with only_run_in(folder) as note:
        assert note is None
        assert (folder / LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_one_process_does_not_get_it_twice(tmp_path: Path) -> None:
    with only_run_in(tmp_path), pytest.raises(TwinsError, match="another run writes there"), only_run_in(tmp_path):
        pass
    with only_run_in(tmp_path):
        pass


def test_a_child_does_not_keep_it(tmp_path: Path) -> None:
    """As workers that load data, which outlive a run that was killed by some seconds."""
    with only_run_in(tmp_path):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        done = subprocess.run([sys.executable, "-c", HOLDS.replace("600", "0"), str(tmp_path)], capture_output=True)
        assert done.stdout == b"held\n"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_where_there_are_no_locks_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "lockf", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    with only_run_in(tmp_path) as note:
        assert note == f"{tmp_path}: there are no locks here; nothing keeps a second run out"
