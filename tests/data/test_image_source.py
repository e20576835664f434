"""Where the bytes of an image are."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.image_files import write_image
from twins.data.image_source import ImageBytes, open_source, read_source, size_of_source
from twins.data.images import ImageReading, UnreadableImageError, read_image, upright_size


def test_bytes_in_memory_are_read_as_those_of_a_file(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", turned=True)
    content = path.read_bytes()
    upload = ImageBytes("../../a.png", content)
    assert read_image(upload).tobytes() == read_image(path).tobytes()
    assert upright_size(upload) == upright_size(path) == (8, 6)
    assert (read_source(upload), read_source(upload, 5)) == (content, content[:5])
    assert size_of_source(upload) == len(content)
    with open_source(upload) as file:
        assert file.read() == content


def test_errors_name_what_was_sent(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(b"words")
    with pytest.raises(UnreadableImageError, match="^there.png: cannot identify image file"):
        read_image(ImageBytes("there.png", b"no words"))
    with pytest.raises(UnreadableImageError, match="^there.png: holds no bytes of an image"):
        read_image(ImageBytes("there.png", b""))
    small = ImageReading(max_megapixels=1e-5)
    with pytest.raises(UnreadableImageError, match="^a.png: .*more than --max-megapixels"):
        read_image(ImageBytes("a.png", write_image(tmp_path / "a.png").read_bytes()), reading=small)
