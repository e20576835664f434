"""What a server is told: where it listens, what it serves, and what a request may cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import TwinsError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
UPLOADS_AT_ONCE = 16  # of the largest size, that memory is kept for; usual images are a hundredth of it


@dataclass(frozen=True)
class ServeSettings:
    """The flags of `twins serve`, which say what each is."""

    weights: tuple[str, ...]  # FILE or NAME=FILE
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    device: str = "auto"
    dtype: str | None = None
    ema: bool | None = None
    decoder: str = "pillow"
    max_batch: int = 16
    max_wait_ms: float = 5.0
    queue: int = 256
    max_upload_mb: float = 32.0
    max_images: int = 32
    max_megapixels: float | None = None  # None: as in each network's run, or what `models` says
    request_timeout: float = 60.0
    api_keys: tuple[str, ...] = field(default=(), repr=False)  # which no log is to show
    request_log: bool = True

    def __post_init__(self) -> None:
        """Raises TwinsError for limits that leave no room for a request."""
        if self.queue < self.max_images:
            raise TwinsError(
                f"--queue {self.queue} has no room for a request of --max-images {self.max_images}: raise the one or "
                "lower the other"
            )

    @property
    def max_bytes(self) -> int:
        """Of a request's body."""
        return int(self.max_upload_mb * 2**20)

    @property
    def max_bytes_at_once(self) -> int:
        """Of the bodies of all requests, as long as they are needed."""
        return UPLOADS_AT_ONCE * self.max_bytes

    @property
    def open_to_others(self) -> bool:
        """Whether other machines may reach the server, without a key."""
        return self.host not in LOOPBACK and not self.host.startswith("127.") and not self.api_keys
