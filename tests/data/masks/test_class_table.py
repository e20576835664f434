"""Names of the classes of masks from the files that annotation tools write."""

from __future__ import annotations

from pathlib import Path

import pytest

from twins.data.masks.class_table import USUAL_FILES, ClassTable, find_class_table, read_class_table, voc_classes
from twins.errors import TwinsError

FILES = {
    "CVAT": ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nrace car:250, 50,83:wheel:turn\n",
             ClassTable(("background", "race car"), ((0, 0, 0), (250, 50, 83)))),
    "CVAT without colours": ("labelmap.txt", "background:::\ncar:::\n", ClassTable(("background", "car"))),
    "Roboflow": ("_classes.csv", "Pixel Value, Class\n0, background\n1, crack\n", ClassTable(("background", "crack"))),
    "Roboflow with gaps": ("_classes.csv", 'Pixel Value, Class\n7, "a, b"\n0, background\n',
                           ClassTable(("background", "a, b"), values=(0, 7))),
    "CamVid": ("class_dict.csv", "name,r,g,b\nAnimal,64,128,64\nVoid,0,0,0\n",
               ClassTable(("Animal", "Void"), ((64, 128, 64), (0, 0, 0)))),
    "Hugging Face": ("id2label.json", '{"1": "floor", "0": "wall"}', ClassTable(("wall", "floor"))),
    "plain": ("classes.txt", "a\nb: c\n", ClassTable(("a", "b: c"))),
}  # fmt: skip


def write(folder: Path, file: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("case", FILES)
def test_files_are_found_and_read(tmp_path: Path, case: str) -> None:
    file, text, expected = FILES[case]
    path = write(tmp_path, file, text)
    found = find_class_table(tmp_path, None)
    assert (found.names, found.colours, found.values) == (expected.names, expected.colours, expected.values)
    assert found.source == str(path)
    assert read_class_table(path.rename(tmp_path / ("x" + path.suffix))).names == expected.names  # by what it holds


BAD = {
    "colour too large": (
        "labelmap.txt",
        "a:0,0,0::\nb:256,0,0::\n",
        "labelmap.txt:2: a colour is three numbers from 0",
    ),
    "some colours": ("labelmap.txt", "a:0,0,0::\nb:::\n", "labelmap.txt:2: expected `name:R,G,B::` on every line or"),
    "twice": ("labelmap.txt", "a:0,0,0::\nb:0,0,0::\n", "labelmap.txt:2: colour 0,0,0 again, after"),
    "value": ("_classes.csv", "Pixel Value, Class\n0, a\nx, b\n", "_classes.csv:3: expected `value, name`"),
    "value twice": ("_classes.csv", "Pixel Value, Class\n0, a\n0, b\n", "_classes.csv:3: 0 again, after"),
    "list": ("id2label.json", "[1, 2]", "id2label.json: cannot read names of classes"),
    "no text": ("id2label.json", '{"0": 1, "1": "b"}', "id2label.json: the name of class 0 is no text: 1"),
    "name twice": ("id2label.json", '{"0": "b", "1": "b"}', "id2label.json: two classes share a name or a value"),
    "one": ("_classes.csv", "Pixel Value, Class\n0, a\n", "1 lines with names of classes; expected 2 to 255"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    file, text, gist = BAD[case]
    write(tmp_path, file, text)
    with pytest.raises(TwinsError) as error:
        find_class_table(tmp_path, None)
    assert gist in str(error.value)
    assert "\n" not in str(error.value)


def test_which_file_counts(tmp_path: Path) -> None:
    assert find_class_table(tmp_path, None) == ClassTable()
    for file, text, _ in FILES.values():
        write(tmp_path / "train", file, text)
    assert find_class_table(tmp_path, None).source == str(tmp_path / "train" / USUAL_FILES[0])
    root = write(tmp_path, "labelmap.txt", FILES["CVAT"][1])
    assert find_class_table(tmp_path, None).source == str(root)
    named = write(tmp_path / "elsewhere", "names.txt", "x\ny\n")
    assert find_class_table(tmp_path, str(named)).names == ("x", "y")
    assert find_class_table(tmp_path, "voc") == voc_classes()


@pytest.mark.parametrize(("file", "text"), [
    ("_classes.csv", "Pixel Value, Class\n0, a\n" + "9" * 5000 + ", b\n"),
    ("_classes.csv", "Pixel Value, Class\n0, a\n1, " + "b" * 200_000 + "\n"),
])  # fmt: skip
def test_numbers_and_cells_without_end(tmp_path: Path, file: str, text: str) -> None:
    with pytest.raises(TwinsError, match=file):
        read_class_table(write(tmp_path, file, text))
