"""The tutorials, followed: each command of a page succeeds and prints the lines that the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tutorials import DOCS, Command, commands_of, missing, run

TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page: Path, tmp_path: Path) -> None:
    commands = list(commands_of(page))
    assert len(commands) > 3
    for command in commands:
        output = run(command, tmp_path)
        assert missing(command.shown, output) == [], f"$ {command.line}\n{output}"


def test_the_beginning_of_a_tutorial(tmp_path: Path) -> None:
    """What takes seconds of the shortest one: its data, and the look at them."""
    commands = list(commands_of(DOCS / "tutorials" / "classify.md"))[:3]
    assert [command.line.split()[:3] for command in commands] == [
        ["twins", "data", "sample"],
        ["ls", "scans/train"],
        ["twins", "data", "check"],
    ]
    for command in commands:
        output = run(command, tmp_path)
        assert missing(command.shown, output) == [], f"$ {command.line}\n{output}"


def test_what_is_shown_may_differ_in_decimal_numbers_and_spaces_alone() -> None:
    output = "first\nepoch   0  loss 2.21  lr 1.00e-06\na.pth  b.pth\n>>> >>> '3'\n"
    assert missing(("epoch 0  loss 9.5  lr 3.5e-02", "a.pth b.pth", "'3'"), output) == []
    assert missing(("epoch 1  loss 2.21",), output) == ["epoch 1  loss 2.21"]
    assert missing(("a.pth b.pth", "first"), output) == ["first"]  # the order counts
    assert missing(("pth",), output) == ["pth"]


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"nowhere: no such folder"):
        run(Command("twins data check --data nowhere", (), ()), tmp_path)
