"""Files that are named otherwise than they are spelt on the disk."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from twins.data.file_names import find_file, same_name

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é/Käse.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("there", "named"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_marks_may_be_composed_or_not(tmp_path: Path, there: str, named: str):
    (tmp_path / there).parent.mkdir()
    (tmp_path / there).touch()
    assert find_file(tmp_path, named).is_file()
    assert find_file(tmp_path, named.replace("/", "\\")).is_file()
    assert same_name(there) == same_name(named)


def test_the_very_name_comes_first_and_is_kept_where_nothing_is_there(tmp_path: Path):
    (tmp_path / "a\\b.png").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").touch()
    assert find_file(tmp_path, "a\\b.png") == tmp_path / "a\\b.png"
    assert find_file(tmp_path, "c\\d.png") == tmp_path / "c\\d.png"
