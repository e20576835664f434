"""OpenVINO's Core, of which a process has one."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..optional_dependencies import need


@cache
def openvino_core() -> Any:
    """What reads and compiles all networks; it lives as long as the process. Raises TwinsError without OpenVINO.

    On a CPU with AMX, OpenVINO 2026.4 gives the calling thread another stack for signals with each Core that compiles,
    and restores the one before when that Core goes. Of two that go in the order in which they came, the second restores
    the stack of the first, which is freed by then: the next signal that Python handles, Ctrl-C or the end of a data
    loader's worker, would end the process without a word.
    """
    return need("openvino", extra="export").Core()
