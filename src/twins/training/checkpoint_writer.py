"""Checkpoints written beside training: a copy of the state is made at once, a thread takes its time over the file."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints.resume import save_checkpoint


class CheckpointWriter:
    """Writes a run's checkpoints, one after another; use it as a `with` block, which ends when all are on the disk.

    Only one is on its way at a time: whoever saves again before it is on the disk waits for it. What goes wrong in the
    thread is raised by the next call of `save` or `wait`.
    """

    def __init__(self, keep: int) -> None:
        """`keep` earlier checkpoints stay beside the newest."""
        self.keep = keep
        self.blocked: list[float] = []  # seconds for which each kept its caller, waiting for the one before included
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        self._thread.shutdown(wait=True)
        if raised[0] is None:
            self.wait()

    def save(self, pack: Callable[[], dict[str, Any]], path: Path, also: Path | None = None) -> None:
        """Write what `pack` returns to `path`, and under the name `also`; the tensors may change as soon as it returns.

        Raises TwinsError where the checkpoint before could not be written.
        """
        started = time.monotonic()
        self.wait()
        checkpoint = copied(pack())
        self._under_way = self._thread.submit(save_checkpoint, checkpoint, path, self.keep, also)
        self.blocked.append(time.monotonic() - started)

    def is_idle(self) -> bool:
        """Whether all is on the disk."""
        return self._under_way is None or self._under_way.done()

    def wait(self) -> None:
        """Until all is on the disk. Raises TwinsError where it could not be written."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()


def copied(value: Any) -> Any:
    """The same dictionaries, lists and tuples with a copy of each tensor, on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(item) for item in value)
    return value
