"""What each kind of exported file has in common while it is made."""

from __future__ import annotations

from pathlib import Path

from ..runtimes.description import Description


class Written:
    """A converted network that can be written more than once: before it is judged, and with how it was judged."""

    def save(self, path: Path, description: Description) -> None:
        """Write it to `path`, and to files of the same stem beside it if its kind has several. Raises OSError."""
        raise NotImplementedError
