"""Libraries that only some of the commands need."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import TwinsError


def need(module: str, extra: str) -> ModuleType:
    """Import a library of an extra. Raises TwinsError with the pip command that brings it, where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise TwinsError(f'{package} is not installed; run: pip install "twins-vit[{extra}]"') from error
