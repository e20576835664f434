"""Images that cannot be read for a moment, for good, or all at once."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from twins.data import steady_reading
from twins.data.classify.shard_writing import shard_images
from twins.data.images import UnreadableImageError
from twins.data.loading import ImageDataset, UnreadableImages, collate
from twins.data.shards.writing import Limits
from twins.data.steady_reading import PAUSES, LostDataError, SteadyReader, is_lost
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe
from twins.tasks.classify import Classification


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    pauses: list[float] = []
    monkeypatch.setattr(steady_reading.time, "sleep", pauses.append)
    return pauses


class Failing:
    """Images of which each read fails so many times, and how often each was tried."""

    def __init__(self, folder: Path, failures: int, number: int | None = errno.ESTALE) -> None:
        self.folder, self.failures, self.number = folder, failures, number
        self.tries: dict[int, int] = {}

    def name(self, index: int) -> str:
        return str(self.folder / f"{index}.png")

    def read(self, index: int, channels: int) -> tuple[Any, Any]:
        self.tries[index] = self.tries.get(index, 0) + 1
        if self.tries[index] <= self.failures:
            cause = OSError("broken data") if self.number is None else OSError(self.number, os.strerror(self.number))
            raise UnreadableImageError(f"{self.name(index)}: {cause}") from cause
        return f"image {index}", index


def reader(images: Failing, count: int = 100) -> SteadyReader:
    (images.folder / "0.png").touch()  # it is there, so that the folder is not lost
    return SteadyReader(images.read, images.name, count)


def test_a_read_that_fails_for_a_moment_is_tried_again(tmp_path: Path, slept: list[float]) -> None:
    images = Failing(tmp_path, len(PAUSES))
    assert reader(images).read(7, 3) == ("image 7", 7)
    assert (images.tries[7], slept) == (4, list(PAUSES))


@pytest.mark.parametrize("number", [None, errno.EACCES])
def test_what_will_not_pass_is_tried_once(tmp_path: Path, slept: list[float], number: int | None) -> None:
    """A decoder's complaint has no number of the system."""
    images = Failing(tmp_path, 1, number)
    with pytest.raises(UnreadableImageError):
        reader(images).read(7, 3)
    assert (images.tries[7], slept) == (1, [])


def test_what_was_given_up_is_not_waited_for_again(tmp_path: Path, slept: list[float]) -> None:
    images = Failing(tmp_path, 1000)
    steady = reader(images)
    for _ in range(3):
        with pytest.raises(UnreadableImageError, match="7.png"):
            steady.read(7, 3)
    assert (images.tries[7], slept) == (6, list(PAUSES))


def test_waiting_ends_where_it_brings_nothing_back(tmp_path: Path, slept: list[float]) -> None:
    images = Failing(tmp_path, 1000)
    steady = reader(images)
    for index in range(100):
        with pytest.raises(UnreadableImageError):
            steady.read(index, 3)
    assert steady_reading.MOST_WAITING <= sum(slept) < steady_reading.MOST_WAITING + sum(PAUSES)
    images.failures = 0
    assert steady.read(3, 3)[1] == 3
    images.failures = 1
    assert steady.read(200, 3)[1] == 200  # with patience again


def test_lost_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert is_lost(tmp_path / "empty")
    assert is_lost(tmp_path / "gone")
    assert not is_lost(tmp_path)
    (tmp_path / "x.tar").touch()
    assert not is_lost(tmp_path / "x.tar")


@pytest.fixture
def training(tiny_recipe: ClassifyRecipe) -> ImageDataset:
    found, _ = Classification(tiny_recipe).datasets()
    assert found is not None
    return found


def test_one_file_that_vanished_is_an_unreadable_image(training: ImageDataset, tiny_recipe: ClassifyRecipe) -> None:
    Path(training.images.name(4)).unlink()
    sample = training.at(4)
    assert sample.image_index == 5
    assert sample.error is None
    with pytest.raises(TwinsError, match=r"unreadable image .*04\.png: .*No such file.*--bad-images skip"):
        UnreadableImages("stop").note(collate([sample]))


@pytest.mark.parametrize("leave", ["nothing", "an empty folder"])
@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_lost_mount_ends_the_run(tiny_recipe: ClassifyRecipe, leave: str, part: str) -> None:
    train, val = Classification(tiny_recipe).datasets()
    dataset = train if part == "training" else val
    assert dataset is not None
    root = Path(tiny_recipe.data) / ("train" if part == "training" else "val")
    shutil.rmtree(root)
    if leave != "nothing":
        root.mkdir()
    with pytest.raises(LostDataError) as error:
        UnreadableImages("skip").note(collate([dataset.at(4)]))
    assert str(error.value).startswith(f"{root}: gone or empty, with all the images in it (is the mount gone?)")
    assert "`twins train --resume` goes on" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_folder_that_vanished_is_not_the_mount(training: ImageDataset, tiny_recipe: ClassifyRecipe) -> None:
    shutil.rmtree(Path(tiny_recipe.data) / "train/ant")
    sample = training.at(2)
    assert (sample.image_index, len(sample.unreadable), sample.error) == (12, 10, None)


def test_the_search_for_a_readable_image_is_bounded(training: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twins.data.loading.MOST_REPLACEMENTS", 5)
    for index in range(8):
        Path(training.images.name(index)).write_bytes(b"no image")
    assert training.at(4).image_index == 8
    sample = training.at(2)
    assert sample.image is None
    with pytest.raises(TwinsError, match=r"unreadable image .*02\.png: .*, and the 4 after it as well: too many"):
        UnreadableImages("skip").note(collate([sample]))


def test_a_pipe_among_the_images_is_refused_at_once(training: ImageDataset, slept: list[float]) -> None:
    path = Path(training.images.name(0))
    path.unlink()
    os.mkfifo(path)
    sample = training.at(0)
    assert sample.unreadable == (f"{path}: not a regular file",)
    assert slept == []


def test_images_in_memory_and_through_pipes_have_no_folder() -> None:
    images = Failing(Path("pipe:cat x.tar"), 1000)
    images.name = lambda index: ("picture 1", "other 2")[index % 2]  # type: ignore[method-assign]
    with pytest.raises(UnreadableImageError):
        SteadyReader(images.read, images.name, 10).read(1, 3)
    with pytest.raises(LostDataError):
        SteadyReader(images.read, lambda index: f"/nowhere/{index}.png", 10).read(1, 3)


def test_a_shard_cut_after_it_was_indexed(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    shard_images(tiny_recipe, tmp_path / "s", Limits(10**9))
    training, _ = Classification(tiny_recipe.replace(data=str(tmp_path / "s"))).datasets()
    assert training is not None
    os.truncate(tmp_path / "s/train-000000.tar", 600)
    sample = training.at(0)
    assert sample.image is None
    assert "train-000000.tar/" in sample.unreadable[0]
    assert "the shard is shorter than it was when it was indexed" in sample.unreadable[0]
