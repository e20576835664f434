"""Signals stop a run between two updates, or while it waits; a preempted one leaves in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from twins.training.interruption import StoppedError, interruptible


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_the_status_is_that_of_the_signal(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with interruptible(grace=60.0, alone=True) as interruption:
        assert not interruption.is_set()
        assert interruption.status == 0
        os.kill(os.getpid(), number)
        assert interruption.is_set()
        assert interruption.status == status
    assert signal.getsignal(number) == before


def test_the_first_signal_counts_and_a_second_ctrl_c_stops_at_once() -> None:
    with interruptible(grace=60.0, alone=True) as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun's answer to Ctrl-C
        assert interruption.status == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_waiting_is_given_up() -> None:
    with interruptible(grace=60.0, alone=True) as interruption:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(StoppedError), interruption.while_waiting():
            time.sleep(60)
        with pytest.raises(StoppedError), interruption.while_waiting():
            pass  # it was asked before


def test_ranks_leave_together() -> None:
    with interruptible(grace=60.0, alone=False) as interruption, interruption.while_waiting():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.is_set()


LONG_UPDATE = """
import os, signal, time
from twins.training.interruption import interruptible
with interruptible(grace=0.5, alone=True) as interruption:
    interruption.last_words = lambda: "last words"
    os.kill(os.getpid(), signal.{signal})
    {in_time}
    time.sleep({seconds})
print("went on")
"""


@pytest.mark.parametrize(
    ("number", "in_time", "status", "words"),
    [
        ("SIGTERM", "", 143, b"last words\n"),
        ("SIGUSR1", "", 138, b"last words\n"),
        ("SIGINT", "", 0, b""),  # somebody sees it
        ("SIGTERM", "interruption.done()", 0, b""),
    ],
)
def test_an_update_that_takes_too_long_is_not_waited_for(number: str, in_time: str, status: int, words: bytes) -> None:
    script = LONG_UPDATE.format(signal=number, in_time=in_time, seconds=30 if status else 1)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (status, words)
    assert done.stdout == (b"" if status else b"went on\n")
