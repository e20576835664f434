"""Labelled images in shards: written, read again, the same images, and every fault by its shard and member."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.command_line import refusal
from helpers.runs import StopAfter, assert_same, leave_plots_out, timeless_log, weights_of
from helpers.shards import labelled, png, write_tar
from twins.cli import main
from twins.commands.data import _size
from twins.data.classify.dataset import LabelledImages
from twins.data.classify.layouts import open_labelled
from twins.data.classify.shard_writing import WrittenShards, shard_images
from twins.data.loading import make_loader
from twins.data.sampling import TrainingSampler
from twins.data.shards import index
from twins.data.shards.tar_samples import TarSample
from twins.data.shards.writing import Limits
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe
from twins.tasks.classify import Classification
from twins.training.loop import fit


def shards(recipe: ClassifyRecipe, out: Path, images: int | None = 7) -> WrittenShards:
    return shard_images(recipe, out, Limits(10**9, images))


def opened(data: Path | str, tmp_path: Path, **fields: object) -> tuple[LabelledImages, LabelledImages]:
    recipe = ClassifyRecipe(data=str(data), output=str(tmp_path / "runs"), **fields)  # type: ignore[arg-type]
    train, val = open_labelled(recipe)
    assert train is not None
    return train, val


def fault(data: Path | str, tmp_path: Path, **fields: object) -> str:
    with pytest.raises(TwinsError) as error:
        opened(data, tmp_path, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_shards_hold_the_same_images_in_the_same_order(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    written = shards(tiny_recipe, tmp_path / "shards")
    assert (written.images, written.left_out) == ({"train": 36, "val": 15}, [])
    assert written.shards["train"] == [f"train-{number:06d}.tar" for number in range(6)]
    names = sorted(path.name for path in (tmp_path / "shards").iterdir())
    assert names == ["dataset.json", "index.jsonl", *written.shards["train"], *written.shards["val"]]
    for ours, theirs in zip(opened(tmp_path / "shards", tmp_path), open_labelled(tiny_recipe), strict=True):
        assert theirs is not None
        assert (ours.classes, list(ours.labels)) == (theirs.classes, list(theirs.labels))
        for i in range(len(ours)):
            assert ours.name(i).split("/")[-2:] == theirs.name(i).split("/")[-2:]
            assert np.array_equal(np.asarray(ours.open(i, 3)), np.asarray(theirs.open(i, 3)))
    train, _ = opened(tmp_path / "shards", tmp_path)
    in_shards = [train.images[i].shard.name for i in range(12)]  # type: ignore[union-attr]  # of the first class
    assert len(set(in_shards)) > 3  # classes are mixed
    part = train.subset([5, 2])
    assert [part.name(0), part.name(1)] == [train.name(5), train.name(2)]


def test_the_same_images_make_the_same_bytes(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shards(tiny_recipe, tmp_path / name)
    for path in (tmp_path / "one").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_training_from_shards_is_training_from_the_folder(
    tiny_recipe: ClassifyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_out(monkeypatch.setattr)
    recipe = tiny_recipe.replace(aa="rand-m9-mstd0.5-inc1", reprob=0.5)
    shards(recipe, tmp_path / "shards")
    folder = fit(recipe).folder
    sharded = fit(recipe.replace(data=str(tmp_path / "shards"), name="sharded")).folder
    assert timeless_log(folder) == timeless_log(sharded)
    assert_same(weights_of(folder), weights_of(sharded))


def test_a_run_on_shards_goes_on_where_it_stopped(
    tiny_recipe: ClassifyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_out(monkeypatch.setattr)
    recipe = tiny_recipe.replace(workers=1)
    shards(recipe, tmp_path / "shards")
    recipe = recipe.replace(data=str(tmp_path / "shards"))
    whole = fit(recipe).folder
    with monkeypatch.context() as stopping:
        StopAfter(stopping, epoch=1, update=2)
        stopped = fit(recipe.replace(name="stopped"))
    assert not stopped.finished
    for index_file in (tmp_path / "shards").glob("*.jsonl"):
        index_file.unlink()
    resumed = fit(recipe.replace(name="stopped"), folder=stopped.folder, resume=stopped.folder / "checkpoint.pth")
    assert_same(weights_of(resumed.folder), weights_of(whole))
    assert timeless_log(resumed.folder) == timeless_log(whole)


@pytest.mark.parametrize("decoder", ["pillow", "turbo"])
def test_jpeg_files_of_shards_are_decoded_as_others(tmp_path: Path, decoder: str) -> None:
    if decoder == "turbo":
        pytest.importorskip("simplejpeg")
    pixels = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    for name in ("a", "b"):
        for part in ("train", "val"):
            (tmp_path / "jpeg" / part / name).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / "jpeg" / part / name / "one.JPG")
    recipe = ClassifyRecipe(data=str(tmp_path / "jpeg"), img_size=64, decoder=decoder, output=str(tmp_path))
    shards(recipe, tmp_path / "shards")
    tensors = []
    for data in ("jpeg", "shards"):
        train, val = Classification(recipe.replace(data=str(tmp_path / data))).datasets()
        assert train is not None
        tensors.append(torch.stack([train.at(1).image, val.at(0).image]))
    assert torch.equal(*tensors)


def test_every_rank_and_worker_sees_its_share_once(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    shards(tiny_recipe, tmp_path / "shards")
    training, _ = Classification(tiny_recipe.replace(data=str(tmp_path / "shards"))).datasets()
    assert training is not None

    def seen(ranks: int, workers: int) -> list[int]:
        found = []
        for rank in range(ranks):
            sampler = TrainingSampler(36, 12, 0, rank, ranks, drop_last=False)
            loader = make_loader(training, sampler, 12 // ranks, workers, torch.device("cpu"))
            found.append([list(batch.indices) for batch in loader])
        steps = zip(*found, strict=True)
        return [index for step in steps for turn in zip(*step, strict=True) for index in turn]

    alone = seen(1, 0)
    assert sorted(alone) == list(range(36))
    assert seen(1, 2) == alone
    assert seen(2, 1) == alone


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves that to Python
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_others_read_them(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    written = shards(tiny_recipe, tmp_path / "shards")
    paths = [str(tmp_path / "shards" / name) for name in written.shards["train"]]
    samples = list(wds.WebDataset(paths, shardshuffle=False, empty_check=False).decode("pil"))
    train, _ = open_labelled(tiny_recipe)
    assert train is not None
    assert len({sample["__key__"] for sample in samples}) == len(samples) == 36
    for sample in samples:
        number = sample["json"]["number"]
        assert (sample["cls"], sample["json"]["class"]) == (train.labels[number], train.classes[train.labels[number]])
        assert train.name(number).endswith(sample["json"]["file"])
        assert np.array_equal(np.asarray(sample["png"].convert("RGB")), np.asarray(train.open(number, 3)))


def test_names_with_dots_and_of_one_stem_get_keys_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a/1.png", "a/1.v2.PNG", "a/1_v2.png", "b.c/1.png", "b.c/_x.png"):
        (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / name).write_bytes(png())
    shutil.copy(root / "train/a/1.png", root / "train/a/1.jpg")
    shutil.copytree(root / "train", root / "val")
    shards(ClassifyRecipe(data=str(root)), tmp_path / "shards")
    train, val = opened(tmp_path / "shards", tmp_path)
    assert Counter(train.labels) == Counter(val.labels) == {0: 4, 1: 2}
    theirs, _ = open_labelled(ClassifyRecipe(data=str(root)))
    assert theirs is not None
    assert [Path(train.name(i)).parent.name for i in range(6)] == [Path(theirs.name(i)).parent.name for i in range(6)]
    assert len({train.name(i).rpartition(".")[0] for i in range(6)}) == 6


def test_parts_of_shards(tmp_path: Path) -> None:
    for name, members in (("train-0", labelled(a=0, b=1)), ("train-1", labelled(c=0, d=1)), ("val-0", labelled(e=1))):
        write_tar(tmp_path / f"s/{name}.tar", members)
    for data in (tmp_path / "s", f"{tmp_path}/s/train-{{0..1}}.tar", f"{tmp_path}/s/train-*.tar"):
        train, val = opened(data, tmp_path)
        assert [train.name(i) for i in range(4)] == [f"{tmp_path}/s/train-{n}.tar/{m}.png" for n, m in
                                                     ((0, "a"), (0, "b"), (1, "c"), (1, "d"))]  # fmt: skip
        assert [val.name(0), *val.labels] == [f"{tmp_path}/s/val-0.tar/e.png", 1]
    train, val = opened(f"{tmp_path}/s/train-0.tar", tmp_path, val_shards=f"{tmp_path}/s/train-1.tar")
    assert ([*train.labels], val.name(0)) == ([0, 1], f"{tmp_path}/s/train-1.tar/c.png")
    (tmp_path / "s/val-0.tar").unlink()
    train, val = opened(tmp_path / "s", tmp_path, val_split=0.5)
    assert (len(train), len(val)) == (2, 2)
    assert val.split is not None
    assert all(name.startswith("train-") for name in val.split.val)


def test_names_of_classes(tmp_path: Path) -> None:
    described = {"a.png": png(), "a.json": b'{"label": 0, "class": "ant"}', "b.png": png(),
                 "b.json": b'{"label": 1, "class": "bee"}'}  # fmt: skip
    write_tar(tmp_path / "s/train-0.tar", described)
    write_tar(tmp_path / "s/val-0.tar", labelled(c=1))
    assert opened(tmp_path / "s", tmp_path)[0].classes == ("ant", "bee")
    (tmp_path / "s/classes.txt").write_text("ant\nbee\ncat\n")
    assert opened(tmp_path / "s", tmp_path)[1].classes == ("ant", "bee", "cat")
    (tmp_path / "s/classes.txt").write_text("ant\nwasp\n")
    assert "train-0.tar: class 1 is 'bee' here, but 'wasp' in" in fault(tmp_path / "s", tmp_path)
    (tmp_path / "s/classes.txt").unlink()
    write_tar(tmp_path / "s/val-0.tar", {"a.png": png(), "a.json": b'{"label": 1, "class": "wasp"}'})
    assert "val-0.tar: class 1 is 'wasp' here, but 'bee' in" in fault(tmp_path / "s", tmp_path)
    named = tmp_path / "named"
    write_tar(named / "train.tar", {"a.png": png(), "a.cls": b"bee", "b.png": png(), "b.cls": b"ant"})
    write_tar(named / "val.tar", {"a.png": png(), "a.cls": b"bee"})
    train, val = opened(named, tmp_path)
    assert (train.classes, [*train.labels], [*val.labels]) == (("ant", "bee"), [1, 0], [1])
    write_tar(named / "val.tar", labelled(a=1))
    assert "some labels are numbers and some are names of classes" in fault(named, tmp_path)


def test_faults_are_said_by_shard_and_member(tmp_path: Path) -> None:
    root = tmp_path / "s"
    write_tar(root / "train-0.tar", labelled(a=0, b=1))
    write_tar(root / "val-0.tar", labelled(c=1, d=5))
    (root / "classes.txt").write_text("ant\nbee\n")
    message = fault(root, tmp_path)
    assert message == (
        f"{root}/val-0.tar: d.png has the label 5, which is none of the 2 classes of {root}/classes.txt, "
        "numbered from 0"
    )
    write_tar(root / "val-0.tar", {})
    assert fault(root, tmp_path) == f"{root}/val-0.tar: no sample in it, nor in any other of 1 shards"
    (root / "val-0.tar").write_bytes((root / "train-0.tar").read_bytes()[:1500])
    assert fault(root, tmp_path).startswith(f"{root}/val-0.tar: ")
    assert fault(f"{root}/x-{{0..3}}.tar", tmp_path).startswith(f"{root}/x-0.tar: no such shard; 4 of the 4")
    assert "tar shards are read for --task classify only" in refusal_of_other_tasks(root)
    (tmp_path / "none").mkdir()
    assert "no tar shards here" in fault(tmp_path / "none", tmp_path, dataset="shards")


def test_labels_cannot_ask_for_more_classes_than_there_may_be(tmp_path: Path) -> None:
    write_tar(tmp_path / "s/train.tar", {"a.png": png(), "a.cls": b"999999999"})
    assert fault(tmp_path / "s", tmp_path).startswith(
        f"{tmp_path}/s/train.tar: has the label 999999999, but nothing names so many classes; write classes.txt"
    )
    (tmp_path / "s/dataset.json").write_text('{"classes": ["ant", "ant"]}')
    assert fault(tmp_path / "s", tmp_path).endswith("dataset.json: class 'ant' is there twice; each class has its own")
    (tmp_path / "s/dataset.json").write_text('{"classes": [1]}')
    assert "does not list the names of the classes under `classes`" in fault(tmp_path / "s", tmp_path)


def refusal_of_other_tasks(root: Path) -> str:
    from twins.data.masks.layouts import open_masked
    from twins.recipes import SegmentRecipe

    with pytest.raises(TwinsError) as error:
        open_masked(SegmentRecipe(data=f"{root}/train-0.tar"))
    return str(error.value)


def test_a_missing_shard_is_noticed(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    shards(tiny_recipe, tmp_path / "s")
    (tmp_path / "s/train-000002.tar").unlink()
    assert fault(tmp_path / "s", tmp_path).startswith(
        f"{tmp_path}/s/train-000002.tar: no such shard, one of 1 missing that dataset.json lists"
    )
    assert len(opened(f"{tmp_path}/s/train-*.tar", tmp_path)[0]) == 29  # by intention


def test_shards_are_indexed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train-0", "val-0"):
        write_tar(tmp_path / f"s/{name}.tar", labelled(a=0, b=1))
    read: list[str] = []
    samples_of_tar = index.samples_of_tar

    def noted(path: Path, name: str) -> Iterator[TarSample]:
        read.append(path.name)
        return samples_of_tar(path, name)

    monkeypatch.setattr(index, "samples_of_tar", noted)
    first = opened(tmp_path / "s", tmp_path)
    assert read == ["train-0.tar", "val-0.tar"]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["train-0.tar", "val-0.tar"]
    again = opened(tmp_path / "s", tmp_path)
    assert len(read) == 2
    assert [list(part.images) for part in again] == [list(part.images) for part in first]
    write_tar(tmp_path / "s/train-0.tar", labelled(a=0, b=1, c=1))
    assert len(opened(tmp_path / "s", tmp_path)[0]) == 3
    assert read[2:] == ["train-0.tar"]
    for file in (tmp_path / "runs/listings").iterdir():
        file.write_text('{"format": 1, "shard": "val-0.tar", "size": 1\n[[[\n')
    assert len(opened(tmp_path / "s", tmp_path)[0]) == 3
    assert sorted(read[3:]) == ["train-0.tar", "val-0.tar"]


def test_an_index_that_leads_out_of_its_shard_is_not_used(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    shards(tiny_recipe, tmp_path / "s")
    lines = (tmp_path / "s/index.jsonl").read_text().splitlines()
    for name, wrong in (("offsets", 10**12), ("sizes", -1), ("labels", -1), ("offsets", 2**70), ("sizes", "x")):
        changed = [json.loads(line) for line in lines]
        changed[0][name][0] = wrong
        (tmp_path / "s/index.jsonl").write_text("\n".join(map(json.dumps, changed)))
        train, _ = opened(tmp_path / "s", tmp_path / name)
        assert np.asarray(train.open(0, 3)).shape[-1] == 3
        assert len(train) == 36


def test_the_command(tiny_recipe: ClassifyRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    argv = ("data", "shard", "--data", tiny_recipe.data, "--out", out)
    assert main([*argv, "--shard-size", "30kB", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "train: 36 images in" in printed
    assert f"next: twins train --data {out}" in printed
    tars = list(Path(out).glob("*.tar"))
    assert len(tars) > 4
    assert max(tar.stat().st_size for tar in tars) <= 30_000 + 10_240  # the end of a tar is filled up to 20 blocks
    assert refusal(capsys, *argv).startswith(f"twins: --out {out}: is there already, and not empty")
    (tmp_path / "file").touch()
    assert "is a file" in refusal(capsys, *argv[:-1], str(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    assert "no images here" in refusal(capsys, "data", "shard", "--data", str(tmp_path / "empty"), "--out", f"{out}2")
    assert "'1QB' is no size; write 500MB, 1GB or 1GiB" in refusal(capsys, *argv, "--shard-size", "1QB")
    assert "'0' is no number of images" in refusal(capsys, *argv, "--images-per-shard", "0")
    assert "--task segment has no shards yet" in refusal(capsys, *argv, "--task", "segment")
    assert not Path(f"{out}2").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("1GB", 10**9), ("1.5 MiB", 3 << 19), ("64kb", 64_000), ("7", 7), ("2G", 2 * 10**9)]
)
def test_sizes(text: str, size: int) -> None:
    assert _size(text) == size


def test_what_cannot_be_read_stops_or_is_counted(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    gone = Path(tiny_recipe.data) / "train/bee/gone.png"
    gone.symlink_to("nowhere.png")
    with pytest.raises(TwinsError, match=r"gone\.png: cannot be read \(No such file or directory\); fix it, or pass"):
        shards(tiny_recipe, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    written = shards(tiny_recipe.replace(bad_images="skip"), tmp_path / "s")
    assert written.images["train"] == 36
    assert written.left_out == [f"{gone}: No such file or directory"]


def test_the_check_reads_shards(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    val = Path(tiny_recipe.data) / "val/bee"
    shutil.copy(Path(tiny_recipe.data) / "train/bee/00.png", val / "copy.png")
    (val / "broken.png").write_bytes(b"no image")
    shards(tiny_recipe, tmp_path / "s")
    statistics = Classification(tiny_recipe.replace(data=str(tmp_path / "s"))).dataset_statistics()
    assert statistics.parts[0].startswith("training: 36 images, 48 x 40 to 56 x 40")
    assert any("bee/broken.png: cannot identify" in line for line in statistics.errors)
    assert any("byte for byte: 1, " in line and "bee/copy.png = " in line for line in statistics.warnings)


def test_embedded_scans_can_be_sharded(tmp_path: Path) -> None:
    recipe = ClassifyRecipe(data="digits", in_chans=1, mean=(0.5,), std=(0.5,))
    shards(recipe, tmp_path / "s", images=1000)
    ours, theirs = opened(tmp_path / "s", tmp_path)[0], open_labelled(recipe)[0]
    assert theirs is not None
    assert (list(ours.labels), ours.classes) == (list(theirs.labels), theirs.classes)
    for i in (0, 700, len(ours) - 1):
        assert np.array_equal(np.asarray(ours.open(i, 1)), np.asarray(theirs.open(i, 1)))
