"""Labels in tables, as people write them: which columns, which files, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.image_files import write_image
from twins.data.classify.layouts import open_labelled
from twins.data.classify.list_file import read_lists
from twins.data.classify.table import read_table
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe

CATS, DOGS = ("0.png", "1.png"), ("2.png", "3.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images in `images/`, of cats and of dogs."""
    for name in (*CATS, *DOGS):
        write_image(tmp_path / "images" / name)
    return tmp_path


def rows(separator: str = ",", names: tuple[str, ...] = (*CATS, *DOGS), labels: str = "cat cat dog dog") -> str:
    return "".join(f"{name}{separator}{label}\n" for name, label in zip(names, labels.split(), strict=True))


def read(root: Path, text: str | bytes, table: str = "train.csv") -> list[tuple[str, str]]:
    """(file, class) of each training image that the table gives."""
    (root / table).write_bytes(text.encode() if isinstance(text, str) else text)
    train, _ = read_table(root)
    assert train is not None
    return [(Path(train.name(i)).name, train.classes[label]) for i, label in enumerate(train.labels)]


EXPECTED = [("0.png", "cat"), ("1.png", "cat"), ("2.png", "dog"), ("3.png", "dog")]


@pytest.mark.parametrize(
    "header",
    ["file,label", "filename,class", "Image,Category", "image_id,target", "path,label", "ID,breed", "id_code,whatever"],
)
def test_columns_go_by_the_usual_names(root: Path, header: str) -> None:
    assert read(root, f"{header}\n{rows()}") == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        rows(),  # without a header
        "label,file\n" + "".join(f"{label},{name}\n" for name, label in EXPECTED),
        ",file,label\n" + "".join(f"{i},{name},{label}\n" for i, (name, label) in enumerate(EXPECTED)),  # of pandas
        "file;label\r\n" + rows(";").replace("\n", "\r\n"),
        "sep=;\nfile;label\n" + rows(";"),
        "file\tlabel\n" + rows("\t"),
        "\ufefffile,label\n\n" + rows(", "),
        'file,label\n"0.png","cat"\n"1.png","cat"\n"2.png","dog"\n"3.png","dog"\n',
        "id,label\n" + rows(names=("0", "1", "2", "3")),
        "file,label\n" + rows(names=("images/0.png", "data/images/1.png", "./2.png", "/kaggle/input/images/3.png")),
        "file,label\n" + rows(names=(r"images\0.png", r"C:\Users\me\images\1.png", r".\2.png", "3.PNG")),
        "file,label,width\n" + rows().replace("\n", ",640\n"),
        "class_id,class_name,file\n0,cat,0.png\n0,cat,1.png\n1,dog,2.png\n1,dog,3.png\n",
        "filename, cat, dog\n0.png, 1, 0\n1.png, 1, 0\n2.png, 0, 1\n3.png, 0, 1\n",  # as Roboflow writes it
    ],
)
def test_tables_as_people_write_them(root: Path, text: str) -> None:
    assert read(root, text) == EXPECTED


def test_a_table_of_excel_may_be_utf_16(root: Path) -> None:
    text = "file\tlabel\n" + rows("\t", labels="Käse Käse 猫 猫")
    assert read(root, text.encode("utf-16")) == list(zip((*CATS, *DOGS), ("Käse", "Käse", "猫", "猫"), strict=True))


def test_labels_in_numbers_are_sorted_as_numbers(root: Path) -> None:
    assert read(root, "file,label\n" + rows(labels="10 2 10.0 9")) == [
        ("0.png", "10"),
        ("1.png", "2"),
        ("2.png", "10"),
        ("3.png", "9"),
    ]
    train, _ = read_table(root)
    assert train is not None
    assert train.classes == ("2", "9", "10")
    (root / "classes.txt").write_text("".join(f"class {i}\n" for i in range(11)))
    assert read(root, "file,label\n" + rows(labels="10 2 10 9"))[1] == ("1.png", "class 2")


def test_parts_in_two_tables_of_one_folder(root: Path) -> None:
    (root / "train.csv").write_text("file,label\n0.png,cat\n2.png,dog\n")
    (root / "valid.csv").write_text("file,label\n3.png,dog\n1.png,cat\n")
    train, val = open_labelled(ClassifyRecipe(data=str(root)))
    assert train is not None
    assert ([Path(p).name for p in train.images], train.labels) == (["0.png", "2.png"], [0, 1])
    assert ([Path(p).name for p in val.images], val.labels) == (["3.png", "1.png"], [1, 0])
    assert train.warnings == val.warnings == ()


def test_parts_in_a_column(root: Path) -> None:
    text = "file,label,split\n0.png,cat,train\n1.png,cat,valid\n2.png,dog,TRAIN\n3.png,dog,test\n"
    assert read(root, text, "labels.csv") == [("0.png", "cat"), ("2.png", "dog")]
    _, val = read_table(root)
    assert val is not None
    assert [Path(p).name for p in val.images] == ["1.png"]
    _, test = read_table(root, part="test")
    assert test is not None
    assert test.labels == [1]
    with pytest.raises(TwinsError, match=r"labels\.csv:2: no such part as 'fold1'"):
        read(root, text.replace("train", "fold1", 1), "labels.csv")


def test_parts_in_folders_with_a_table_each(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        for i in range(4):
            write_image(tmp_path / part / f"{i}.png")  # the same names in both
        (tmp_path / part / "_classes.csv").write_text(
            "filename, cat, dog\n" + "".join(f"{i}.png, {i % 2}, {1 - i % 2}\n" for i in range(4))
        )
    train, val = open_labelled(ClassifyRecipe(data=str(tmp_path)))
    assert train is not None
    assert [Path(p).parent.name for p in (*train.images, *val.images)] == ["train"] * 4 + ["valid"] * 4
    assert train.labels == val.labels == [1, 0, 1, 0]


def test_the_images_of_a_part_are_in_the_folder_that_names_it(tmp_path: Path) -> None:
    """As competitions pack them: other images of the same names, and tables that hold no labels, lie beside."""
    for folder in ("train_images", "test_images"):
        for i in range(4):
            write_image(tmp_path / folder / f"{i}.jpg")
    (tmp_path / "train.csv").write_text("image_id,label\n" + "".join(f"{i}.jpg,{i % 2}\n" for i in range(4)))
    (tmp_path / "test.csv").write_text("image_id,width\n0.jpg,8\n")
    (tmp_path / "sample_submission.csv").write_text("image_id,label\n0.jpg,1\n")
    train, val = open_labelled(ClassifyRecipe(data=str(tmp_path), val_split=0.5))
    assert train is not None
    assert {Path(p).parent.name for p in (*train.images, *val.images)} == {"train_images"}
    assert len(train) + len(val) == 4
    assert train.warnings == ()


def test_the_table_itself_may_be_the_data(root: Path) -> None:
    (root / "mine.csv").write_text("file,label\n" + rows())
    train, val = open_labelled(ClassifyRecipe(data=str(root / "mine.csv"), val_split=0.5))
    assert train is not None
    assert sorted(Path(p).name for p in (*train.images, *val.images)) == [*CATS, *DOGS]


def test_folders_of_classes_come_before_a_table(root: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(2):
            write_image(root / "other" / name / f"{i}.png")
    (root / "other" / "labels.csv").write_text("file,label\n0.png,cat\n")
    train, _ = open_labelled(ClassifyRecipe(data=str(root / "other"), val_split=0.5))
    assert train is not None
    assert train.classes == ("cat", "dog")
    assert train.warnings == (f"{root / 'other' / 'labels.csv'}: not read, as there is a folder a class; --dataset csv "
                              "reads it",)  # fmt: skip


def test_images_that_are_not_there_and_rows_without_a_label_are_left_out(root: Path) -> None:
    write_image(root / "images" / "4.png")
    (root / "train.csv").write_text("file,label\n" + rows() + "5.png,cat\n6.png,dog\n4.png,\n0.png,cat\n")
    train, _ = read_table(root)
    assert train is not None
    assert len(train) == 4
    table = root / "train.csv"
    assert train.warnings == (
        f"{root}: 1 images are in no table: 4.png",
        f"2 images are not there: {table}:6 5.png, {table}:7 6.png",
        f"1 images have no label: {table}:8 4.png",
        f"1 images are listed twice: {table}:9 0.png",
    )


def test_images_in_two_parts_are_named(root: Path) -> None:
    (root / "train.csv").write_text("file,label\n" + rows())
    (root / "val.csv").write_text("file,label\n0.png,cat\n")
    _, val = open_labelled(ClassifyRecipe(data=str(root)))
    assert val.warnings[-1] == f"images that are in training as well: {root / 'images' / '0.png'}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n0.png\n", r"train\.csv:2: 1 columns where line 1 has 2"),
        ("file,label\n0.png,cat\n1.png,cat,black\n", r"train\.csv:3: 3 columns where line 1 has 2"),
        ("file,label\n,cat\n", r"train\.csv:2: no file"),
        ("file,label\n0.png,cat\n0.png,dog\n", r"train\.csv:3: 0\.png is 'dog' here and 'cat' in .*train\.csv:2"),
        ("file,label\n", "train.csv: a table without rows"),
        ("", "train.csv: no columns"),
        ("file label\n0.png cat\n", "no columns; expected commas, semicolons or tabs"),
        ("wrong,header\n0.png,cat\n", "no names of columns that are known among wrong, header"),
        ("file,width,height\n0.png,4,5\n", "no column of labels among file, width, height; call it `label`"),
        ("species,label\ncat,0\n", "no column of images among species, label; call it `file`"),
        ("file,cat,dog\n0.png,1,1\n", r"train\.csv:2: 0\.png is of several classes \(cat, dog\): multi-label"),
        ("file,label\n7.png,cat\n", r"train\.csv: none of its 1 images is there, as '7\.png' below"),
        ("file,label\n0.png,\n", "none of its 1 images has a label"),
        (b"file,label\n0.png,K\xe4se\n", "is not UTF-8"),
        (
            "Pixel Value, Class\n0, background\n",
            r"names the classes of masks \(Pixel Value, Class\): pass --task segment",
        ),
        ('file,label\n0.png,"cat\n', r"train\.csv:2: unexpected end of data"),
    ],
)
def test_tables_that_cannot_be_used(root: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(TwinsError, match=message):
        read(root, text)


def test_an_id_of_two_images_is_ambiguous(root: Path) -> None:
    write_image(root / "images" / "0.jpg")
    with pytest.raises(TwinsError, match=r"train\.csv:2: 0 may be .*0\.jpg or .*0\.png: write the folder, too"):
        read(root, "id,label\n0,cat\n")


def test_a_class_of_val_alone_is_named(root: Path) -> None:
    (root / "train.csv").write_text("file,label\n0.png,cat\n2.png,dog\n")
    (root / "val.csv").write_text("file,label\n1.png,fox\n")
    with pytest.raises(TwinsError, match=r"val\.csv:2: class 'fox' is not among the classes trained on \(cat, dog\)"):
        read_table(root)


def test_lists_take_the_separators_of_windows(root: Path) -> None:
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text("images\\0.png 0\nimages\\2.png\t1\nimages/9.png 1\n")
    train, _ = read_lists(root)
    assert train is not None
    assert ([Path(p).name for p in train.images], train.labels) == (["0.png", "2.png"], [0, 1])
    assert train.warnings == (f"{root / 'meta' / 'train.txt'}: 1 of 3 images are not there: images/9.png",)
    (root / "meta" / "train.txt").write_text("9.png 0\n")
    with pytest.raises(TwinsError, match=r"train\.txt: 1 of 1 images are not there, as 9\.png"):
        read_lists(root)


@pytest.mark.parametrize("text", ["sep=,\n", ",,,\n", "sep=;\nsep=;\n", ",\n,\n"])
def test_a_table_of_nothing(root: Path, text: str) -> None:
    with pytest.raises(TwinsError, match=r"train\.csv: (a table without rows|no names of columns)"):
        read(root, text)


def test_labels_of_very_many_digits_are_names(root: Path) -> None:
    long = "9" * 400
    assert read(root, rows(labels=f"{long} 1 {long} 1")) == [
        ("0.png", long),
        ("1.png", "1"),
        ("2.png", long),
        ("3.png", "1"),
    ]


@pytest.mark.parametrize("label", ["9" * 5000, "2147483648", "1" * 7])
def test_lists_do_not_claim_millions_of_classes(root: Path, label: str) -> None:
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text(f"images/0.png 0\nimages/1.png {label}\n")
    with pytest.raises(TwinsError, match=r"train\.txt:2: expected a path and a label"):
        read_lists(root)


def test_names_that_no_file_can_have_are_missing(root: Path) -> None:
    names = (*CATS, "2.png", "a" * 300 + ".png")
    assert read(root, rows(names=names)) == EXPECTED[:3]
    (root / "train.csv").unlink()
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text(f"images/0.png 0\n{names[3]} 1\n")
    train, _ = read_lists(root)
    assert train is not None
    assert len(train) == 1
