"""Sources and flags that cannot be used: one line that says which and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.command_line import refusal
from helpers.shards import png, write_tar
from predict.jobs.test_rows import predict, rows_in
from twins.commands import predict_job
from twins.errors import TwinsError
from twins.predict.jobs import opening, plan
from twins.predict.jobs.columns import Kind
from twins.predict.jobs.opening import open_records
from twins.predict.jobs.records import TableColumns


@pytest.mark.parametrize(("flags", "message"), [
    (("--rows-per-shard", "5"), "--rows-per-shard is for rows in shards: give --format"),
    (("--decoder", "turbo"), "--decoder is for rows in shards: give --format"),
    (("--embed",), "--embed is for rows in shards: give --format"),
    (("--ray", "auto"), "--ray is for rows in shards: give --format"),
    (("--format", "parquet", "--draw"), "--draw is for few images: with --format nothing is drawn"),
    (("--format", "csv", "--explain", "gradcam"), "--explain is for few images"),
    (("--format", "csv", "--embed"), "for which CSV has no type: give --format parquet"),
    (("--format", "parquet", "--embed-dtype", "float16"), "--embed-dtype is for features: give --embed"),
    (("--format", "parquet", "--embed", "--classes", "a.txt"), "--classes names what the heads predict"),
    (("--format", "parquet", "--embed", "--topk", "3"), "--topk is for what the heads predict"),
    (("--format", "parquett"), "invalid choice: 'parquett' (did you mean parquet?)"),
    (("--format", "csv", "--workers", "0"), "a whole number of 1 or more is needed, not '0'"),
    (("--format", "csv", "--image-column", "x"), "--image-column and --name-column are for Parquet tables"),
    (("--format", "csv", "--ray", "nowhere"), "--ray takes auto, or HOST:PORT of a cluster's head"),
    (("--format", "csv", "--ray", "127.0.0.1:1"), "nobody answers there"),
])  # fmt: skip
def test_flags_that_do_not_go_together(
    weights: dict[str, Path], sources: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    argv = (sources["folder"], "--weights", str(weights["classify"]), "--out", str(tmp_path / "out"))
    assert message in refusal(capsys, "predict", *argv, *flags)


def test_the_flags_know_what_jobs_know() -> None:
    """Twice, since help must not load PyTorch."""
    assert predict_job.FORMATS == plan.FORMATS
    assert predict_job.ROWS_PER_SHARD == plan.ROWS_PER_SHARD
    assert predict_job.STDIN == opening.STDIN
    suffixes = (opening.LIST_SUFFIX, opening.SHARD_SUFFIX, *opening.PARQUET_SUFFIXES)
    assert suffixes == predict_job.SUFFIXES_OF_JOBS


@pytest.mark.parametrize("source", ["list.txt", "-", "s-{000..009}.tar", "TABLE.PARQUET"])
def test_what_jobs_alone_read_is_named_without_a_format(
    weights: dict[str, Path], capsys: pytest.CaptureFixture[str], source: str
) -> None:
    said = refusal(capsys, "predict", source, "--weights", str(weights["classify"]))
    assert f"{source}: lists, tar shards and Parquet files are read with --format parquet or csv" in said
    assert {Kind(dtype) for dtype in predict_job.EMBED_DTYPES} == {Kind.FLOAT32, Kind.FLOAT16}


def test_batches_are_for_classifiers(
    weights: dict[str, Path], sources: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = (sources["folder"], "--weights", str(weights["retinanet"]), "--out", str(tmp_path), "--format", "csv")
    assert "--batch-size is for classifiers" in refusal(capsys, "predict", *argv, "--batch-size", "2")


def refused(*sources: str | Path, columns: TableColumns = TableColumns()) -> str:  # noqa: B008
    with pytest.raises(TwinsError) as raised:
        open_records([str(source) for source in sources], columns)
    return str(raised.value)


def test_sources_of_two_kinds(sources: dict[str, str]) -> None:
    message = refused(sources["folder"], sources["list"])
    assert "list.txt is a list of images: one job takes sources of one kind" in message


def test_sources_that_are_not_there_or_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no images in this folder" in refused(tmp_path / "empty")
    assert "no such image or folder" in refused(tmp_path / "nothing")
    assert "cannot be read (No such file or directory)" in refused(tmp_path / "nothing.txt")
    (tmp_path / "blank.txt").write_bytes(b"\xef\xbb\xbf\n  \r\n")
    assert "blank.txt: names no images; write one path a line" in refused(tmp_path / "blank.txt")
    assert "no such shard" in refused(tmp_path / "s-{0..3}.tar")
    assert "no such file" in refused(tmp_path / "nothing.parquet")
    assert "unpack it to a plain .tar" in refused(tmp_path / "a.tar.gz")
    assert "pipes are for training" in refused("pipe:cat a.tar")


def test_tar_shards_that_are_cut_short_or_have_no_images(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", {"a.png": png(), "b.png": png()})
    write_tar(tmp_path / "texts.tar", {"a.txt": b"a"})
    assert "texts.tar: no images in it" in refused(tmp_path / "texts.tar")
    content = whole.read_bytes()
    whole.write_bytes(content[:1200])
    assert "a.tar: cut short at byte 1024; copy or fetch" in refused(whole)
    whole.write_bytes(content[:1536])
    assert "a.tar: cut short within b.png" in refused(whole)


def test_shards_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for part in "ab":
        write_tar(tmp_path / part / "s.tar", {"x/1.PNG": png()})
    records = open_records([str(tmp_path)])
    assert [name for name, _ in records.between(0, 2)] == ["a/s.tar/x/1.PNG", "b/s.tar/x/1.PNG"]


def table(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_tables_without_images(tmp_path: Path) -> None:
    numbers = table(tmp_path / "a.parquet", image=[1, 2], text=["a", "b"])
    assert "no column of images among image, text; name the one" in refused(numbers)
    named = TableColumns("tekst", None)
    assert "no column 'tekst' (did you mean text?)" in refused(numbers, columns=named)
    assert "column 'text' holds string, not the bytes of images" in refused(numbers, columns=TableColumns("text"))
    good = table(tmp_path / "b.parquet", jpg=[b"x"])
    assert "no column 'id'; give another --name-column" in refused(good, columns=TableColumns(None, "id"))
    assert "no column 'jpg'" in refused(good, table(tmp_path / "c.parquet", png=[b"x"]))
    assert "no rows in it" in refused(table(tmp_path / "d.parquet", jpg=pa.array([], pa.binary())))
    (tmp_path / "e.parquet").write_bytes(b"PAR1 but nothing else")
    assert "cannot be read as Parquet" in refused(tmp_path / "e.parquet")


def test_rows_without_an_image_say_so(weights: dict[str, Path], tmp_path: Path) -> None:
    held = [png(), None, b"", b"no image"]
    file = table(tmp_path / "a.parquet", photo=held, id=["one", None, "three", "four"])
    argv = ("--image-column", "photo", "--name-column", "id", "--format", "parquet", "--bad-images", "skip")
    assert predict(file, "--weights", weights["classify"], *argv, "--out", tmp_path / "out") == 0
    rows = rows_in(tmp_path / "out")
    assert [row["file"] for row in rows] == ["one", "a.parquet/1", "three", "four"]
    assert [(row["error"] or "-").partition(": ")[2][:32] for row in rows] == [
        "", "holds no bytes of an image", "holds no bytes of an image", "cannot identify image file: dama"
    ]  # fmt: skip


def test_a_library_that_is_missing_is_named_with_what_brings_it(
    weights: dict[str, Path], sources: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    argv = (sources["folder"], "--weights", str(weights["classify"]), "--out", str(tmp_path / "out"))
    for name in ("pyarrow", "pyarrow.parquet", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    assert 'pip install "twins-vit[parquet]"' in refusal(capsys, "predict", *argv, "--format", "parquet")
    line = refusal(capsys, "predict", *argv[:-1], str(tmp_path / "b"), "--format", "csv", "--ray", "auto")
    assert 'pip install "twins-vit[ray]"' in line
