"""The states that a power cut may leave: what was synced is there, and of the rest whatever there may be."""

from __future__ import annotations

import random

import pytest

from crash_model import BLOCK, Create, Disk, Link, Operation, Rename, SyncFile, SyncFolder, Unlink, Write

OLD, NEW = b"old" * BLOCK, b"new" * (BLOCK + 1000)
SAVED: list[Operation] = [Create("run/a", 1), Write(1, 0, OLD), SyncFile(1), SyncFolder("run")]
BESIDE: list[Operation] = [Create("run/.a", 2), Write(2, 0, NEW[:5000]), Write(2, 5000, NEW[5000:])]


def states(*operations: Operation) -> set[tuple[tuple[str, bytes], ...]]:
    """Two hundred of them, without the temporary file."""
    disk = Disk.after(operations)
    crashes = [disk.crash(random.Random(seed)) for seed in range(200)]
    return {tuple((path, data) for path, data in crash.items() if path != "run/.a") for crash in crashes}


def test_what_was_synced_is_there() -> None:
    assert states(*SAVED) == {(("run/a", OLD),)}
    assert Disk.after([*SAVED, Unlink("run/a")]).now() == {}


def test_a_file_that_was_not_synced_may_be_anything_under_its_name() -> None:
    found = states(*SAVED, *BESIDE, Rename("run/.a", "run/a"), SyncFolder("run"))
    contents = {state[0][1] for state in found}
    assert {NEW, NEW[:5000], b""} <= contents
    assert any(len(content) == len(NEW) and content[:BLOCK] == bytes(BLOCK) for content in contents)
    assert len(contents) > 10


def test_a_synced_file_is_the_old_or_the_new_one_once_it_is_renamed() -> None:
    replaced = [*SAVED, *BESIDE, SyncFile(2), Rename("run/.a", "run/a")]
    assert states(*replaced) == {(("run/a", OLD),), (("run/a", NEW),)}
    assert states(*replaced, SyncFolder("run")) == {(("run/a", NEW),)}
    assert states(*replaced, SyncFolder("elsewhere")) == states(*replaced)


def test_changes_of_names_may_come_in_any_order_and_are_whole() -> None:
    rotated = [*SAVED, Rename("run/a", "run/a.1"), *BESIDE, SyncFile(2), Rename("run/.a", "run/a")]
    found = {frozenset(state) for state in states(*rotated)}
    old, kept, new = ("run/a", OLD), ("run/a.1", OLD), ("run/a", NEW)
    assert found == {frozenset(state) for state in ([old], [kept], [kept, new], [new])}  # the last: the old one is lost
    linked = [*SAVED, Link("run/a", "run/a.1"), SyncFolder("run")]
    assert states(*linked) == {(old, kept)}


@pytest.mark.parametrize("synced", [True, False])
def test_an_overwritten_file_holds_old_and_new_blocks_unless_it_was_synced(synced: bool) -> None:
    overwritten = [*SAVED, Write(1, BLOCK, b"x" * 2 * BLOCK), *([SyncFile(1)] if synced else [])]
    now = OLD[:BLOCK] + b"x" * 2 * BLOCK
    found = {state[0][1] for state in states(*overwritten)}
    half = {OLD[: 2 * BLOCK] + now[2 * BLOCK :], now[: 2 * BLOCK] + OLD[2 * BLOCK :]}
    assert found == ({now} if synced else {OLD, now} | half)
