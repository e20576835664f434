"""A folder of images, looked at before hours are spent on it: in words, and as an image."""

from __future__ import annotations

from pathlib import Path

from ..data.check_results import DatasetStatistics
from ..errors import TwinsError
from ..optional_dependencies import need
from ..recipes import Recipe
from ..shown_text import shown
from ..tasks import make_task


def check_data(recipe: Recipe) -> bool:
    """Read every annotation of a recipe's data and print what was found; returns whether it can be trained on.

    Raises TwinsError for a folder that is no data set at all.
    """
    statistics = make_task(recipe).dataset_statistics()
    print_statistics(statistics)
    return not statistics.errors


def preview_data(recipe: Recipe, path: Path) -> None:
    """Draw samples with their annotations. Raises TwinsError for data that cannot be used, or drawn to `path`."""
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder" if path.is_dir() else "is in no folder that exists"
        raise TwinsError(f"--out {path}: {wrong}; name a file to write, as preview.png")
    task = make_task(recipe)
    task.datasets()
    try:
        task.draw_samples(path)
    except (OSError, ValueError) as error:  # matplotlib raises a ValueError for a suffix that it does not know
        raise TwinsError(f"--out {path}: cannot be written ({error})") from error
    print(f"look   {path}")


def print_statistics(statistics: DatasetStatistics) -> None:
    rich = need("rich.console", extra="train")
    table = need("rich.table", extra="train").Table(box=None, pad_edge=False)
    for index, column in enumerate(statistics.columns):
        table.add_column(column, justify="right" if index else "left")
    for row in statistics.rows:
        table.add_row(*map(shown, row))
    console = rich.Console(soft_wrap=True, highlight=False, markup=False)
    for part in statistics.parts:
        console.print(part)
    console.print(table)
    for kind, lines in (("warning", statistics.warnings), ("error", statistics.errors)):
        for line in lines:
            console.print(f"{kind}: {shown(line)}")
    if not statistics.errors:
        console.print("nothing here keeps a network from learning")
