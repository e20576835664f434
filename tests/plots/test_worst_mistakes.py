"""The images of the worst mistakes, and what is said of each."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from twins.plots.worst_mistakes import WorstMistake, write_worst_mistakes


def test_images_of_an_earlier_evaluation_are_removed(tmp_path: Path) -> None:
    mistakes = [WorstMistake(Image.new("L", (n, 2)).save, f"{n}.jpg", f"caf\udce9 {n}") for n in (3, 4)]
    write_worst_mistakes(tmp_path, mistakes)
    write_worst_mistakes(tmp_path, mistakes[1:])
    assert sorted(path.name for path in (tmp_path / "mistakes").iterdir()) == ["01.png", "captions.json"]
    with Image.open(tmp_path / "mistakes" / "01.png") as image:
        assert image.size == (4, 2)
    captions = json.loads((tmp_path / "mistakes" / "captions.json").read_text(encoding="utf-8"))
    assert captions == [{"image": "01.png", "file": "4.jpg", "caption": "caf\udce9 4"}]
