"""Names of classes: what files of them may hold, what is refused, and whether data and network agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from twins.class_names import check_classes, numbered, read_names, read_names_and_colours
from twins.errors import TwinsError


def write(folder: Path, text: str) -> Path:
    path = folder / "classes.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_classes_without_names_are_numbered() -> None:
    assert numbered(3) == ("0", "1", "2")
    assert numbered(0) == ()


def test_classes_of_a_network() -> None:
    check_classes(("cat", "dog"), ("cat", "dog"), "here")
    message = (
        "here: its 2 classes are not the 1 that the network knows: the one numbered 1 is 'dog' here and None there"
    )
    with pytest.raises(TwinsError, match=message):
        check_classes(("cat", "dog"), ("cat",), "here")


def test_a_name_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffstraße\n\n tree, or bush \nsky,0,0,0\n")
    assert read_names(path) == ("straße", "tree, or bush", "sky,0,0,0")
    with pytest.raises(TwinsError, match=r"classes\.txt: no names of classes in it; expected a text file with a name"):
        read_names(write(tmp_path, " \n\n"))


@pytest.mark.parametrize("read", [read_names, read_names_and_colours])
def test_unreadable_files(tmp_path: Path, read: object) -> None:
    assert callable(read)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00caf\xe9")
    for name in ("gone.txt", "bytes.txt"):
        with pytest.raises(TwinsError, match=f"{name}: cannot read names of classes .*; expected a text file"):
            read(tmp_path / name)


def test_names_with_and_without_colours(tmp_path: Path) -> None:
    assert read_names_and_colours(write(tmp_path, "\ufeffstraße\n\n tree, or bush \n")) == (
        ("straße", "tree, or bush"),
        (),
    )
    coloured = write(tmp_path, "sky,0,0,0\nroad, 128, 64,128\n")
    assert read_names_and_colours(coloured) == (("sky", "road"), ((0, 0, 0), (128, 64, 128)))
    assert read_names_and_colours(write(tmp_path, "\n")) == ((), ())


def test_table_of_ade20k(tmp_path: Path) -> None:
    rows = "1\t0.15\t11\t1\t1\twall\n2\t0.1\t6\t6\t1\tbuilding, edifice\n"
    assert read_names_and_colours(write(tmp_path, "Idx\tRatio\tTrain\tVal\tStuff\tName\n" + rows)) == (
        ("wall", "building"),
        (),
    )


BAD_LINES = {
    "mixed": ("classes.txt:3: expected `name,R,G,B` on every line or on none", "a,1,2,3\n\nb\n"),
    "mixed, the other way": ("classes.txt:2: expected `name,R,G,B` on every line", "a\nb,1,2,3\n"),
    "twice": ("classes.txt:3: 'a' again, after", "a\nb\na\n"),
    "colour twice": ("classes.txt:2: colour 1,2,3 again, after", "a,1,2,3\nb,1,2,3\n"),
    "colour too large": ("classes.txt:2: a colour is three numbers from 0 to 255, not 1,256,0", "a,1,2,3\nb,1,256,0\n"),
    "negative colour": ("classes.txt:1: a colour is three numbers from 0 to 255, not -1,0,0", "a,-1,0,0\nb,1,6,0\n"),
    "broken table": ("classes.txt:3: expected six columns", "Idx\tRatio\n1\t0\t1\t1\t1\ta\n2\tb\n"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_lines_are_named(tmp_path: Path, case: str) -> None:
    gist, text = BAD_LINES[case]
    with pytest.raises(TwinsError) as error:
        read_names_and_colours(write(tmp_path, text))
    assert gist in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.timeout(20)
def test_a_line_of_spaces_takes_no_time(tmp_path: Path) -> None:
    line = "a" + " " * 200_000 + "b"
    assert read_names_and_colours(write(tmp_path, f"{line}\nc\n")) == ((line, "c"), ())
    long = "a," + "9" * 5000 + ",0,0"
    assert read_names_and_colours(write(tmp_path, long)) == ((long,), ())  # no colour, so a name
