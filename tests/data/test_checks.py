"""What every check of a data set does, whatever the annotations are: tallies, sizes, errors, warnings."""

from __future__ import annotations

from collections import Counter

import pytest

from twins.data.annotation_errors import AnnotationError, Examples, ExamplesByKind
from twins.data.check_results import (
    CheckedPart,
    ImageSizes,
    Tally,
    dataset_statistics,
    part_warnings,
    raise_first_error,
)
from twins.data.checks import file_errors, file_warnings, missing_classes, tally_images, tally_over_ranks
from twins.data.images import UnreadableImageError
from twins.errors import TwinsError


def count(index: int) -> Tally:
    """Image 3 cannot be decoded, 4 and 5 are badly annotated, the others have labels 0 and 1 by turns."""
    if index == 3:
        raise UnreadableImageError("3.png: broken")
    if index in (4, 5):
        raise AnnotationError(f"{index}.png: wrong", "fix it")
    return Tally(images=Counter([index % 2]), sizes=ImageSizes(frozenset([(10 + index, 20)])))


EXPECTED = Tally(
    images=Counter({0: 3, 1: 2}),
    errors=ExamplesByKind({"fix it": Examples(2, ("4.png: wrong", "5.png: wrong"))}),
    unreadable=Examples(1, ("3.png: broken",)),
    sizes=ImageSizes(frozenset([(10, 20), (17, 20)])),
)


@pytest.mark.parametrize(("workers", "chunk"), [(0, 1), (0, 3), (2, 2)])
def test_bad_files_are_counted_and_nothing_is_raised(workers: int, chunk: int) -> None:
    assert tally_images(count, Tally(), range(8), workers, chunk) == EXPECTED


@pytest.mark.parametrize("few", [8, 7])
def test_one_rank_counts_everything(few: int) -> None:
    assert tally_over_ranks(count, Tally(), 8, workers=1, description="checking", chunk=3, few=few) == EXPECTED


def test_sizes_that_stand_out() -> None:
    """(height, width); of equal areas and ratios the narrower one is the smaller."""
    sizes = ImageSizes(frozenset([(30, 40)]))
    for size in ((20, 50), (50, 20), (10, 5), (60, 40), (40, 60), (100, 10)):
        sizes += ImageSizes(frozenset([size]))
    assert sizes.extremes == ((10, 5), (40, 60), (100, 10))
    assert sizes.sizes == {(10, 5), (40, 60), (100, 10)}
    assert str(sizes) == "5 x 10 to 60 x 40"
    assert str(ImageSizes(frozenset([(30, 40)]))) == "40 x 30"
    assert (ImageSizes().extremes, str(ImageSizes())) == ((), "")


def test_unreadable_images_are_errors_or_left_out() -> None:
    wrong = "4.png: wrong; 5.png: wrong; fix it"
    assert file_errors(EXPECTED, skip_unreadable=True) == [wrong]
    assert file_errors(EXPECTED, skip_unreadable=False) == [
        wrong,
        "unreadable: 3.png: broken; fix these files, or pass --bad-images skip",
    ]
    assert list(file_warnings(EXPECTED, (), skip_unreadable=True)) == ["unreadable, left out: 3.png: broken"]
    odd = Tally(warnings=ExamplesByKind({"a": Examples(1, ("x",)), "b": Examples(5, ("x", "y", "z"))}))
    assert list(file_warnings(odd, ("b", "c", "a"), skip_unreadable=True)) == ["b: x; y; z and 2 more", "a: x"]


def test_classes_that_never_occur() -> None:
    assert missing_classes(EXPECTED, ("ant", "bee")) is None
    assert missing_classes(EXPECTED, tuple("abcdefg")) == "classes that never occur: c, d, e and 2 more"


def test_the_first_error_is_raised_and_warnings_are_named_by_part() -> None:
    fine = CheckedPart(Tally(), (), ("odd",))
    raise_first_error({"training": fine})
    with pytest.raises(TwinsError, match=r"^wrong$"):
        raise_first_error({"training": fine, "validation": CheckedPart(Tally(), ("wrong",), ())})
    with pytest.raises(TwinsError, match=r"^wrong \(2 more kinds of errors\)$"):
        raise_first_error({"training": CheckedPart(Tally(), ("wrong", "bad", "worse"), ())})
    assert part_warnings({"training": fine, "validation": fine}) == ["training: odd", "validation: odd"]


def test_statistics_have_a_row_a_class_and_the_columns_of_every_part() -> None:
    checked = {"training": CheckedPart(EXPECTED, ("wrong",), ()), "validation": CheckedPart(Tally(), (), ("odd",))}
    statistics = dataset_statistics(
        checked,
        lambda part, tally: f"{tally.images.total()} in {part}",
        ("ant", "bee"),
        ("images", "share"),
        lambda tally, label: (str(tally.images[label]), f"{label} %"),
    )
    assert statistics.parts == ("training: 5 in training", "validation: 0 in validation")
    assert statistics.columns == ("class", "training: images", "share", "validation: images", "share")
    assert statistics.rows == (("ant", "3", "0 %", "0", "0 %"), ("bee", "2", "1 %", "0", "1 %"))
    assert (statistics.errors, statistics.warnings) == (("training: wrong",), ("validation: odd",))
