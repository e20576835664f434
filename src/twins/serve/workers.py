"""Several processes of a server behind one port, each with networks of its own."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from ..errors import TwinsError
from .metrics import SHARED_FOLDER
from .settings import ServeSettings
from .stopping import signals_call

READY, LINE, ERROR = "ready", "line", "error"  # what a worker reports


class Workers:
    """Starts the processes, starts those again that die, and stops all when asked."""

    def __init__(
        self,
        settings: ServeSettings,
        bound: socket.socket,
        say: Callable[[str], None],
        all_ready: Callable[[], None],
    ) -> None:
        self.settings, self.bound, self.say, self.all_ready = settings, bound, say, all_ready
        self.running: dict[SpawnProcess, Connection] = {}
        self.ready: set[SpawnProcess] = set()
        self.spokesman: SpawnProcess | None = None  # all would say the same
        self.said_ready = self.stopping = False

    def run(self) -> None:
        """Until a signal asks to stop. Raises TwinsError where a worker cannot begin."""
        with TemporaryDirectory(prefix="twins-metrics-") as folder, signals_call(self.stop):
            os.environ[SHARED_FOLDER] = folder
            try:
                for _ in range(self.settings.workers):
                    self._start()
                while self.running:
                    self._watch()
            finally:
                self.stop()
                for process in list(self.running):
                    process.join()
                del os.environ[SHARED_FOLDER]

    def stop(self, *_: object) -> None:
        """Ask every process to finish what it has accepted."""
        self.stopping = True
        for process in list(self.running):
            process.terminate()

    def _start(self) -> None:
        report, reports = multiprocessing.get_context("spawn").Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(self.settings, self.bound, reports), name="twins serve"
        )
        process.start()
        reports.close()
        self.running[process] = report
        self.spokesman = self.spokesman or process

    def _watch(self) -> None:
        """Wait for something to happen: a report, or the end of a process."""
        waited_for: list[Any] = [process.sentinel for process in self.running]
        happened = wait([*waited_for, *self.running.values()], timeout=1)
        for process, report in list(self.running.items()):
            if report in happened:
                self._read(process, report)
            elif process.sentinel in happened:
                self._bury(process)

    def _read(self, process: SpawnProcess, report: Connection) -> None:
        try:
            kind, text = report.recv()
        except EOFError:
            self._bury(process)
            return
        if kind == ERROR:
            raise TwinsError(text)
        if kind == LINE and process is self.spokesman:
            self.say(text)
        if kind == READY:
            self.ready.add(process)
            if len(self.ready) == self.settings.workers and not self.said_ready:
                self.said_ready = True
                self.all_ready()

    def _bury(self, process: SpawnProcess) -> None:
        process.join()
        self.running.pop(process).close()
        mark_process_dead(process.pid)
        if self.stopping:
            return
        if process not in self.ready:
            raise TwinsError(
                f"a worker ended before it was ready (status {process.exitcode}); is there memory for all?"
            )
        self.ready.discard(process)
        self.say(f"a worker ended (status {process.exitcode}); another one starts")
        self._start()


def _work(settings: ServeSettings, bound: socket.socket, reports: Connection) -> None:
    """A worker's process."""
    from .running import prepare_server  # with PyTorch, which the parent does without

    try:
        server = prepare_server(settings, lambda text: reports.send((LINE, text)), lambda: reports.send((READY, "")))
    except TwinsError as error:
        reports.send((ERROR, str(error)))
        return
    threading.Thread(target=_follow_parent, args=(server.ask_to_stop,), daemon=True).start()
    server.run(sockets=[bound])


def _follow_parent(ask_to_stop: Callable[[], None]) -> None:
    """A worker whose parent was killed would keep the port for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    ask_to_stop()
