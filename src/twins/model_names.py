"""The names of the six networks, and every other name that people know them by."""

from __future__ import annotations

from .errors import TwinsError, nearest

MODEL_NAMES = tuple(f"twins_{kind}_{size}" for kind in ("pcpvt", "svt") for size in ("small", "base", "large"))


def _aliases() -> dict[str, str]:
    table = {}
    for size in ("small", "base", "large"):
        for short in (size, size[0]):
            for name in ("twins_pcpvt_{}", "pcpvt_{}", "pcpvt_{}_v0"):
                table[name.format(short)] = f"twins_pcpvt_{size}"
            for name in ("twins_svt_{}", "svt_{}", "alt_gvt_{}", "altgvt_{}"):
                table[name.format(short)] = f"twins_svt_{size}"
    return table


_ALIASES = _aliases()


def model_name(name: str) -> str:
    """The network that a name or alias means: "alt_gvt_small", "Twins-SVT-S" -> "twins_svt_small".

    Raises TwinsError with the nearest names for one that means none.
    """
    key = name.strip().lower().replace("-", "_")
    if key not in _ALIASES:
        raise TwinsError(f"unknown model {name!r}{nearest(key, list(_ALIASES))}; the six are {', '.join(MODEL_NAMES)}")
    return _ALIASES[key]
