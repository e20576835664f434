"""What a classifier or a detector takes for what: the confusion matrix, or the commonest confusions of many classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from torch import Tensor

from .figure import INK, WRONG, hide_axes, new_figure, save_figure
from .lettering import shortened

NAMED_CLASSES = 40  # of more a matrix cannot be read
COMMONEST = 20


def draw_confusion(
    confusion: Tensor, classes: Sequence[str], path: Path, counted: str = "images", result: str | None = None
) -> None:
    """(classes, classes) int64 counts, [truth, prediction], shaded by their share of the truth, and written into cells.

    `counted` says what of, and `result` what comes of them all, by default the accuracy. Of more than NAMED_CLASSES
    classes only the commonest confusions are drawn.
    """
    if len(classes) > NAMED_CLASSES:
        cells = {tuple(i): int(confusion[*i]) for i in confusion.nonzero().tolist()}
        return draw_commonest_confusions(cells, classes, path, counted, result)
    shares = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    names = [shortened(name) for name in classes]
    side = max(4.5, 0.45 * len(classes) + 0.08 * max(map(len, names)))
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(range(len(names)), names)
    for truth, predicted in confusion.nonzero().tolist():
        count, color = int(confusion[truth, predicted]), "white" if shares[truth, predicted] > 0.5 else INK
        axes.text(predicted, truth, count, ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    if result is None:
        title = f"confusion matrix, {_accuracy(int(confusion.diagonal().sum()), int(confusion.sum()))}"
    else:
        title = f"confusion matrix\n{fill(result, width=int(11 * (side + 1)))}"  # letters an inch
    figure.suptitle(title, fontsize=11, color=INK)
    save_figure(figure, path)


def draw_commonest_confusions(
    cells: Mapping[tuple[int, int], int],
    classes: Sequence[str],
    path: Path,
    counted: str = "images",
    result: str | None = None,
) -> None:
    """The pairs of classes that are confused most often, of `cells`: how many are counted by (truth, prediction)."""
    images, right = Counter[int](), 0
    for (truth, predicted), count in cells.items():
        images[truth] += count
        right += count if truth == predicted else 0
    confused = [
        (count, truth, predicted) for (truth, predicted), count in cells.items() if truth != predicted and count
    ]
    commonest = sorted(confused, key=lambda row: (-row[0], row[1:]))[:COMMONEST]
    positions = range(len(commonest))
    figure = new_figure(8, 0.24 * len(commonest) + 1.3)
    axes = figure.subplots()
    bars = axes.barh(positions, [count for count, _, _ in commonest], color=WRONG, height=0.7)
    axes.set_yticks(
        positions, [f"{shortened(classes[truth])} \u2192 {shortened(classes[label])}" for _, truth, label in commonest]
    )
    axes.bar_label(bars, [f"{count} of {images[truth]}" for count, truth, _ in commonest], fontsize=7, padding=2)
    axes.tick_params(axis="y", labelsize=8)
    axes.locator_params(axis="x", integer=True)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel=counted)
    if not commonest:
        hide_axes(axes)
    what = "commonest confusions, true class \u2192 predicted class" if commonest else "no confusions"
    figure.suptitle(f"{what}\n{result or _accuracy(right, images.total())}", fontsize=10, color=INK)
    save_figure(figure, path)


def _accuracy(right: int, images: int) -> str:
    return f"accuracy {100 * right / max(images, 1):.2f} % on {images} images"
