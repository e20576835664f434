"""What a classifier's evaluation leaves behind."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers.image_files import write_image
from twins.data.loading import Batch
from twins.plots import image_grid
from twins.recipes import ClassifyRecipe
from twins.tasks import classify
from twins.tasks.classify import Classification

CLASSES = ("cat", "$dog$", "fox")


class Sure(nn.Module):
    """Gives one class the probability that each image of the batch says: pixel 0 the class, pixel 1 the logit."""

    def __init__(self) -> None:
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), 3)
        logits[torch.arange(len(images)), images[:, 0].long()] = images[:, 1]
        return logits


@pytest.fixture
def evaluated(tmp_path: Path) -> Classification:
    """Of three images a class: the first two of the cats are taken for foxes, the second more surely."""
    for name in CLASSES:
        for i in range(3):
            write_image(tmp_path / "data" / name / f"{i}.png")
    task = Classification(ClassifyRecipe(data=str(tmp_path / "data"), val_split=0.0, img_size=8))
    _, val = task.datasets(evaluation_only=True)
    labels = torch.tensor([val.images.labels[i] for i in range(9)])
    views = torch.stack([labels, torch.full((9,), 4)], dim=1).float()
    cats = [i for i in range(9) if "/cat/" in val.images.name(i)]
    fox = float(task.classes.index("fox"))
    views[cats[0]], views[cats[1]] = torch.tensor([fox, 2.0]), torch.tensor([fox, 5.0])
    metrics = dict(task.evaluate(Sure(), batches(views, labels)))
    assert metrics["acc1"] == pytest.approx(100 * 7 / 9)
    return task


def batches(views: Tensor, labels: Tensor) -> Iterator[Batch]:
    for start in range(0, len(views), 4):
        part = slice(start, start + 4)
        yield Batch(views[part], labels[part], tuple(range(len(views))[part]))


def test_mistakes_are_listed_the_most_confident_first(evaluated: Classification, tmp_path: Path) -> None:
    evaluated.draw(tmp_path)
    with (tmp_path / "mistakes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    cats = tmp_path / "data" / "cat"
    assert rows == [
        ["file", "truth", "predicted", "confidence"],
        [str(cats / "1.png"), "cat", "fox", "0.98670"],  # e^5 / (e^5 + 2)
        [str(cats / "0.png"), "cat", "fox", "0.78699"],  # e^2 / (e^2 + 2)
    ]


def test_predictions_say_where_each_image_is(evaluated: Classification, tmp_path: Path, monkeypatch) -> None:
    titles: list[tuple[str, ...]] = []
    monkeypatch.setattr(classify, "draw_image_grid", lambda images, shown, *_, **__: titles.extend(shown))
    evaluated.draw(tmp_path)
    assert titles[:3] == [("fox, 99 %", "not cat", "cat/1.png"), ("fox, 79 %", "not cat", "cat/0.png"), titles[2]]
    assert {"$dog$, 96 %", "fox, 96 %", "cat, 96 %"} == {title[0] for title in titles[2:]}
    assert all(len(title) == 2 for title in titles[2:])
    assert image_grid.MAX_IMAGES == 32 > len(titles) == 9


@pytest.mark.parametrize(("classes", "shown"), [(5, ["acc1", "loss"]), (6, ["acc1", "acc5", "loss"])])
def test_acc5_is_shown_from_six_classes_on(classes: int, shown: list[str], tmp_path: Path) -> None:
    for i in range(classes):
        write_image(tmp_path / str(i) / "0.png")
        write_image(tmp_path / str(i) / "1.png")
    task = Classification(ClassifyRecipe(data=str(tmp_path)))
    task.datasets()
    assert [name for name, _, _ in task.columns] == shown


def test_a_mixed_label_names_both_classes() -> None:
    assert classify._mixture(torch.tensor([0.7, 0.0, 0.3]), CLASSES) == ("cat, 70 %", "fox, 30 %")
    assert classify._mixture(torch.tensor([0.0, 1.0, 0.0]), CLASSES) == ("$dog$",)
