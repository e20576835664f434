"""OpenVINO's Core, of which a process has one.

On a CPU with AMX, OpenVINO 2026.4 gives the calling thread another stack for signals with each Core that compiles, and
restores the one before when that Core goes. Of two that go in the order in which they came, the second restores the
stack of the first, which is freed by then: the next signal that Python handles, Ctrl-C or the end of a data loader's
worker, ends the process without a word.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..optional_dependencies import need


@cache
def shared_core() -> Any:
    """What reads and compiles all networks; it lives as long as the process. Raises TwinsError without OpenVINO."""
    return need("openvino", extra="export").Core()
