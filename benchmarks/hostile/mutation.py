"""Valid content made invalid: bytes flipped, cut, spliced and swapped, and fields of JSON replaced by odd ones."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Sequence
from typing import Any

_ODD_NUMBERS = (0, 1, -1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_DEEP = "@deep@"  # stands for lists in lists, which Python's own writer of JSON does not go down


def mutated_bytes(rng: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """`content` after one to four changes, some of which take parts of `others`."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _change(rng, changed, others)
    return bytes(changed)


def _change(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> None:
    size = len(content)
    at = rng.randrange(size + 1) if rng.random() < 0.5 else rng.randrange(min(size, 256) + 1)  # headers matter most
    length = min(rng.choice((1, 2, 4, 8, 64, 1024)), max(size - at, 0))
    match rng.randrange(8):
        case 0 if at < size:
            content[at] ^= 1 << rng.randrange(8)
        case 1:
            content[at : at + length] = rng.randbytes(length)
        case 2:
            del content[at:]
        case 3:
            del content[at : at + length]
        case 4:
            content[at:at] = content[at : at + length] * rng.choice((1, 2, 100))
        case 5:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            content[at : at + length] = other[start : start + rng.choice((4, 64, 4096))]
        case 6:
            there = rng.randrange(size + 1)
            content[at : at + length], content[there : there + length] = (
                content[there : there + length],
                content[at : at + length],
            )
        case _:
            number = rng.choice(_ODD_NUMBERS)
            form = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
            packed = struct.pack(form, number % 256 ** struct.calcsize(form))
            content[at : at + len(packed)] = packed


def odd_text(rng: random.Random) -> str:
    """A string that somebody did not think of."""
    return rng.choice(
        (
            *("", " ", "\0", "a\0b", "\n", "a\nb", "\r", "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "‮gnp.exe"),
            *("\ud800", "\udcff", "é" * 3, "é", "..", "../../../../tmp/escaped", "/tmp/escaped", "C:\\escaped"),
            *("~nosuchuser/x", "~", "$(touch canary)", "`touch canary`", "; touch canary", "%s%n", "{0.__class__}"),
            *("nan", "inf", "-inf", "1e999", "-1", "0x10", "1_000", "9" * 400, "9" * 5000, "1." + "0" * 400, "٣"),
            *("a" * 300, "a" * 100_000, "<script>alert(1)</script>", "!!python/object/apply:os.system ['true']"),
            *("none", "true", "null", "[[" * 50, "#", "a#b", "--", "-", "=", "*", "&a", "\ufeff", "\u2028"),
        )
    )


def odd_value(rng: random.Random) -> Any:
    """A value of JSON in a place where nobody expects it."""
    return rng.choice(
        (
            *(None, True, False, 0, -1, 1, 2, 255, 10**6, 2**31, 2**53, 2**63, 2**64, 10**30, -(2**63), 10**400),
            *(0.5, -0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 1e-320),
            *([], {}, [[]], [None], [0], [-1, -1], ["a", 1, None], {"a": 1}, {"": None}, [[1, 2], [3]], [{}] * 3),
            *(_DEEP, [_DEEP], {"a": _DEEP}, list(range(2000)), odd_text(rng), odd_text(rng), odd_text(rng)),
        )
    )


def mutated_json(rng: random.Random, content: Any) -> bytes:
    """`content` with one to three values replaced, removed, renamed or repeated; now and then broken as text too."""
    changed = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        changed = _changed_value(rng, changed)
    text = json.dumps(changed, ensure_ascii=rng.random() < 0.5)
    depth = rng.choice((100, 900, 5000, 200_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")))
    text = text.replace(f'"{_DEEP}"', opening * depth + "1" + closing * rng.choice((depth, 0)))
    encoded = text.encode(errors="surrogatepass")
    return mutated_bytes(rng, encoded, [encoded]) if rng.random() < 0.2 else encoded


def _changed_value(rng: random.Random, value: Any) -> Any:
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
        return odd_value(rng)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    match rng.randrange(8):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[odd_text(rng)] = value.pop(key)
        case 2 if isinstance(value, dict):
            value[rng.choice(list(value))] = copy.deepcopy(value[key])
        case 3 if isinstance(value, list):
            value.insert(rng.randrange(len(value) + 1), copy.deepcopy(value[key]))
        case _:
            value[key] = _changed_value(rng, value[key])
    return value
