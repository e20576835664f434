"""The confusion matrix of few classes, the commonest confusions of many."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twins.plots.confusion import NAMED_CLASSES, draw_confusion


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, str]]:
    """(name, length, label) of each bar."""
    found: list[tuple[str, float, str]] = []
    bar_label = Axes.bar_label

    def noting(self: Axes, container, labels, **options):
        names = [tick.get_text() for tick in self.get_yticklabels()]
        found.extend(zip(names, [bar.get_width() for bar in container], labels, strict=True))
        return bar_label(self, container, labels, **options)

    monkeypatch.setattr(Axes, "bar_label", noting)
    return found


def test_many_classes_show_the_commonest_confusions(bars: list[tuple[str, float, str]], tmp_path: Path) -> None:
    classes = [f"class {i}" for i in range(NAMED_CLASSES + 1)]
    confusion = 5 * torch.eye(len(classes), dtype=torch.int64)
    confusion[3, 7], confusion[7, 3], confusion[0, 1] = 4, 2, 9
    confusion[20:40, 40] = 1
    draw_confusion(confusion, classes, tmp_path / "confusion.png")
    assert bars[:4] == [
        ("class 0 \u2192 class 1", 9, "9 of 14"),
        ("class 3 \u2192 class 7", 4, "4 of 9"),
        ("class 7 \u2192 class 3", 2, "2 of 7"),
        ("class 20 \u2192 class 40", 1, "1 of 6"),
    ]
    assert len(bars) == 20


def test_a_perfect_classifier_of_many_classes_has_an_empty_list(bars, tmp_path: Path) -> None:
    draw_confusion(torch.eye(50, dtype=torch.int64), [str(i) for i in range(50)], tmp_path / "confusion.png")
    assert bars == []
    assert (tmp_path / "confusion.png").is_file()


def test_few_classes_have_a_matrix(bars, tmp_path: Path) -> None:
    classes = [str(i) for i in range(NAMED_CLASSES)]
    draw_confusion(torch.eye(len(classes), dtype=torch.int64), classes, tmp_path / "confusion.png")
    assert bars == []


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **_: found.append(text))
    return found


def test_a_detectors_matrix_is_of_objects_and_says_what_came_of_them(titles: list[str], tmp_path: Path) -> None:
    confusion = torch.tensor([[3, 1], [2, 0]])
    draw_confusion(confusion, ("cat", "background"), tmp_path / "confusion.png", "objects", "1 missed")
    draw_confusion(confusion, ("cat", "dog"), tmp_path / "confusion.png")
    many = torch.eye(50, dtype=torch.int64)
    draw_confusion(many, [str(i) for i in range(50)], tmp_path / "confusion.png", "objects", "0 missed")
    accuracy = "confusion matrix, accuracy 50.00 % on 6 images"
    assert titles == ["confusion matrix\n1 missed", accuracy, "no confusions\n0 missed"]
