"""What anybody may hand us, fuzzed: it is read, or refused by one line that the code states; nothing else is raised.

The fast part takes a few examples of each; `-m slow` takes many. `benchmarks/hostile_inputs.py` goes further, in
processes whose memory and time are bounded.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.exported import describe, exportable_to
from twins.checkpoints.model_folder import stated_beside
from twins.checkpoints.torch_files import UNREADABLE
from twins.checkpoints.unpickle import Unpickler, stubs_in
from twins.class_names import read_names_and_colours
from twins.cli import parse
from twins.data.annotation_errors import AnnotationError
from twins.data.boxes.coco_file import read_listing
from twins.data.boxes.yolo_labels import read_labels
from twins.data.boxes.yolo_yaml import yaml_fields
from twins.data.classify.jpeg_header import ending_after, plain_size
from twins.data.classify.table_rows import read_rows
from twins.data.images import ImageReading, UnreadableImageError, read_header, read_image
from twins.data.masks.class_table import read_class_table
from twins.errors import TwinsError
from twins.recipes import find_recipe
from twins.runtimes.description import Description

SMALL = ImageReading(max_megapixels=1.0)  # so that none takes long
STATED = (TwinsError, UnreadableImageError, AnnotationError)
FEW_AND_MANY = pytest.mark.parametrize("examples", [15, pytest.param(1000, marks=pytest.mark.slow)])

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=12)
LINES = st.text(st.characters(codec="utf-8") | st.sampled_from(list(",;\t|\n\r:0123456789 \0\"'")), max_size=200)


def reads_or_refuses(examples: int, strategy: st.SearchStrategy[Any], read: Callable[[Any], object]) -> None:
    """Neither more nor less, for so many examples."""

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def run(value: Any) -> None:
        try:
            read(value)
        except STATED as error:
            assert str(error).strip()  # noqa: PT017  # what it says, not that it is raised

    run()


def with_one_changed(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The fields, one of them or of those within replaced."""
    plain = st.builds(lambda name, value: {**fields, name: value}, st.sampled_from(sorted(fields)), JSON)
    nested = [name for name, value in fields.items() if isinstance(value, dict) and value]
    within = [
        st.builds(lambda inner, value, name=name: {**fields, name: {**fields[name], inner: value}},
                  st.sampled_from(sorted(fields[name])), JSON)
        for name in nested
    ]  # fmt: skip
    return st.one_of(plain, *within)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    return path


# Whole opcodes, since random bytes seldom are.
NUMBERS = st.integers(-(2**31), 2**31 - 1).map(lambda n: b"J" + struct.pack("<i", n))
TEXTS = st.text(max_size=5).map(lambda t: b"X" + struct.pack("<I", len(t.encode())) + t.encode())
NAMES = st.sampled_from(
    [("collections", "OrderedDict"), ("builtins", "set"), ("builtins", "bytearray"), ("torch", "float32"),
     ("torch", "FloatStorage"), ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"),
     ("torch._tensor", "_rebuild_from_type_v2"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
     ("numpy.core.multiarray", "scalar"), ("argparse", "Namespace"), ("pathlib", "PosixPath"), ("torch", "Size"),
     ("torch", "device"), ("_codecs", "encode"), ("os", "system"), ("builtins", "eval"), ("torch.hub", "load")]
).map(lambda names: "c{}\n{}\n".format(*names).encode())  # fmt: skip
PLAIN = st.sampled_from(
    [bytes([code]) for code in b"(.0123]})Ntuabdeloqs\x85\x86\x87\x88\x89\x8f\x90\x91\x81\x92\x93\x94QR"]
)
LOOKS = st.integers(0, 5).map(lambda n: b"h" + bytes([n])) | st.integers(0, 5).map(lambda n: b"q" + bytes([n]))
PICKLES = st.lists(NUMBERS | TEXTS | NAMES | PLAIN | LOOKS, max_size=30).map(
    lambda codes: b"\x80\x04" + b"".join(codes) + b"."
)


@FEW_AND_MANY
def test_pickles(examples: int) -> None:
    def read(pickled: bytes) -> None:
        try:
            stubs_in(Unpickler(io.BytesIO(pickled)).load())
        except UNREADABLE as error:
            assert not isinstance(error, MemoryError)  # noqa: PT017

    reads_or_refuses(examples, PICKLES | st.binary(max_size=100), read)


@FEW_AND_MANY
def test_descriptions_of_exported_files(examples: int) -> None:
    fields = json.loads(describe(exportable_to("classify"), recipe={"name": "tiny"}, sizes=((64, 96),)).to_json())

    def read(changed: dict[str, Any]) -> None:
        Description.from_json(json.dumps(changed), "a.onnx").info("a.onnx")

    reads_or_refuses(examples, with_one_changed(fields), read)


@FEW_AND_MANY
def test_recipes(examples: int, tmp_path: Path) -> None:
    fields = find_recipe("digits").to_dict()

    def read(changed: dict[str, Any]) -> None:
        recipe = find_recipe(str(written(tmp_path / "r.json", json.dumps(changed))))
        assert type(recipe).from_dict(recipe.to_dict(), "again") == recipe

    reads_or_refuses(examples, with_one_changed(fields), read)


@FEW_AND_MANY
def test_config_files_of_model_folders(examples: int, tmp_path: Path) -> None:
    config = {
        "architecture": "twins_svt_small", "num_classes": 3, "label_names": ["a", "b", "c"],
        "model_args": {"wss": [7, 7, 7, 7], "depths": [1, 1, 1, 1]},
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9},
    }  # fmt: skip

    def read(changed: dict[str, Any]) -> None:
        written(tmp_path / "config.json", json.dumps(changed))
        stated_beside(tmp_path / "model.safetensors")

    reads_or_refuses(examples, with_one_changed(config) | st.dictionaries(st.just("twins"), JSON), read)


@FEW_AND_MANY
def test_coco_files(examples: int, tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "height": 40, "width": 60}
    category = {"id": 1, "name": "ant"}
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0,
           "segmentation": [[1, 1, 5, 1, 5, 5]]}  # fmt: skip
    counts = st.fixed_dictionaries(
        {"size": st.just([40, 60]), "counts": st.text(max_size=20) | st.lists(st.integers(), max_size=6)}
    )
    rows = with_one_changed(row) | st.builds(lambda rle: {**row, "segmentation": rle}, counts)
    files = st.fixed_dictionaries(
        {"images": st.lists(with_one_changed(image), min_size=1, max_size=2),
         "categories": st.lists(with_one_changed(category), min_size=1, max_size=2),
         "annotations": st.lists(rows, max_size=2)}
    )  # fmt: skip
    reads_or_refuses(
        examples, files | JSON, lambda value: read_listing(written(tmp_path / "a.json", json.dumps(value)))
    )


@FEW_AND_MANY
@pytest.mark.parametrize(
    ("name", "read"),
    [("a.yaml", yaml_fields), ("a.txt", read_labels), ("a.csv", read_rows), ("a.txt", read_names_and_colours),
     ("classes.txt", read_class_table), ("labelmap.txt", read_class_table), ("id2label.json", read_class_table)],
)  # fmt: skip
def test_text_files(examples: int, name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    beginnings = (
        "",
        "file,label\n",
        "Pixel Value, Class\n",
        "name,r,g,b\n",
        "Idx\tRatio\n",
        "names: [",
        "a:1,2,3::\n",
        "0 0.5 ",
    )
    texts = st.builds(str.__add__, st.sampled_from(beginnings), LINES) | st.binary(max_size=100)
    reads_or_refuses(examples, texts, lambda text: read(written(tmp_path / name, text)))


@FEW_AND_MANY
def test_command_lines(examples: int) -> None:
    words = st.sampled_from(
        ["train", "eval", "data", "info", "--task", "detect", "--lr", "--epochs", "--model", "--model-kwargs",
         "--device", "--img-size", "--recipe", "digits", "--mean", "--data", "--name", "none", "1e999", "nan"]
    ) | st.text(max_size=10)  # fmt: skip
    commands = st.sampled_from(["train", "data", "info", "bench", "compare", "export"])
    reads_or_refuses(examples, st.builds(lambda c, w: [c, *w], commands, st.lists(words, max_size=5)), _parse)


def _parse(argv: list[str]) -> None:
    try:
        parse([word for word in argv if word not in ("-h", "--help", "--version")])
    except SystemExit as error:  # of an abbreviation of these
        assert error.code == 0  # noqa: PT017


@FEW_AND_MANY
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "tiff", "webp", "ppm"])
def test_images(examples: int, kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)).save(buffer, kind)
    sound = buffer.getvalue()

    def read(changes: list[tuple[int, int]]) -> None:
        damaged = bytearray(sound)
        for index, byte in changes:
            damaged[index % len(damaged)] = byte
        path = written(tmp_path / f"a.{kind}", bytes(damaged))
        plain_size(bytes(damaged))
        ending_after(bytes(damaged), 8)
        read_header(path, SMALL)
        read_image(path, reading=SMALL)

    places = st.integers(0, 80) | st.integers(0, len(sound) - 1)
    reads_or_refuses(examples, st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4), read)
