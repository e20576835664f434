"""The model card: what a published network is, how well it does and how it is used, for people and for the hub.

The front matter is YAML between `---` lines, in which every text is written as JSON has it: that is YAML too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from ..checkpoints.info import CheckpointInfo
from ..class_names import numbered
from ..preprocessing import ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing
from ..recipes import recipe_class
from ..shown_text import shown
from ..zoo import PUBLISHED
from .config import versions
from .timm_network import reading_of
from .validation import METRICS, Validation

_PIPELINES = {"classify": "image-classification", "segment": "image-segmentation", "detect": "object-detection"}
_HEADS = {
    "upernet": "UPerNet", "semantic_fpn": "Semantic FPN", "retinanet": "RetinaNet", "mask_rcnn": "Mask R-CNN"
}  # fmt: skip
_MAKERS = {"segment": "segmenter", "detect": "detector", "classify": "classifier"}
_NAMED_CLASSES = 20  # in the card; config.json has all of them
_OF_THIS_MACHINE = ("data", "output", "name", "device", "workers", "exist_ok", "task")
_SOFTWARE = "twins-vit"


def model_card(
    info: CheckpointInfo, validation: Validation | None, license_name: str, name: str, parameters: int
) -> str:
    """README.md of a model folder called `name`, whose network has so many parameters."""
    sections = (
        f"# {_text(name)}",
        _introduction(info, parameters),
        _metrics(validation),
        _use(info, name),
        _images(info),
        _training(info),
        f"Written by {_SOFTWARE} {versions()['twins']} with PyTorch {versions()['torch']}. Architecture: "
        "[Twins: Revisiting the Design of Spatial Attention in Vision Transformers](https://arxiv.org/abs/2104.13840).",
    )
    return f"---\n{_front_matter(info, validation, license_name, name)}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(info: CheckpointInfo, validation: Validation | None, license_name: str, name: str) -> str:
    lines = [f"license: {json.dumps(license_name)}", f"pipeline_tag: {_PIPELINES[str(info.task)]}"]
    with_timm = info.task == "classify" and reading_of(info).same
    lines.append(f"library_name: {'timm' if with_timm else _SOFTWARE}")
    lines += ["tags:", *(f"- {tag}" for tag in (_PIPELINES[str(info.task)], "twins", *(["timm"] if with_timm else [])))]
    if validation is not None:
        lines += _model_index(info, validation, name)
    return "\n".join(lines) + "\n"


def _model_index(info: CheckpointInfo, validation: Validation, name: str) -> Iterator[str]:
    """The metrics as the hub shows them."""
    data = json.dumps(_data_of(info) or "not stated", ensure_ascii=False)
    yield "model-index:"
    yield f"- name: {json.dumps(name, ensure_ascii=False)}"
    yield "  results:"
    yield "  - task:"
    yield f"      type: {_PIPELINES[str(info.task)]}"
    yield "    dataset:"
    yield f"      name: {data}"
    yield f"      type: {data}"
    yield "      split: validation"
    yield "    metrics:"
    for key, value in validation.metrics.items():
        kind = METRICS[key].hub_type if key in METRICS else key
        yield f"    - type: {json.dumps(kind)}"
        yield f"      name: {json.dumps(_title(key) + ' (%)')}"
        yield f"      value: {round(value, 3)}"


def _introduction(info: CheckpointInfo, parameters: int) -> str:
    network = PUBLISHED[str(info.model)].title
    what = f"{_HEADS[info.head]} on {network}" if info.head else network
    departures = ", ".join(f"`{name}={value}`" for name, value in info.architecture.items())
    text = f"A {_MAKERS[str(info.task)]}: {what}, {parameters:,} parameters, {_counted(len(info.classes))}."
    text += f" It departs from the published network: {departures}." if departures else ""
    return text if info.classes == numbered(len(info.classes)) else f"{text}\n\nClasses: {_some_classes(info)}."


def _counted(classes: int) -> str:
    return "one class" if classes == 1 else f"{classes} classes"


def _some_classes(info: CheckpointInfo) -> str:
    more = len(info.classes) - _NAMED_CLASSES
    rest = f" and {more} more, in config.json" if more > 0 else ""
    return ", ".join(map(_text, info.classes[:_NAMED_CLASSES])) + rest


def _metrics(validation: Validation | None) -> str:
    if validation is None:
        return "## Metrics\n\nNone are known of these weights."
    rows = _table(("metric", "per cent"), ((_title(key), f"{value:.2f}") for key, value in validation.metrics.items()))
    return f"## Metrics\n\n{rows}\n\nMeasured {_text(validation.how)}."


def _use(info: CheckpointInfo, name: str) -> str:
    return "\n\n".join(["## Use", *_code_of_twins(info, name), *(_code_of_timm(info, name))])


def _code_of_twins(info: CheckpointInfo, name: str) -> Iterator[str]:
    folder = json.dumps(name, ensure_ascii=False)
    code = ["import twins", "", f"predict = twins.load({folder})  # this folder", 'print(predict("image.jpg"))']
    if info.task == "classify":
        code.append(f"model = twins.create_model(weights={folder})  # the network alone")
    yield f'With `pip install "{_SOFTWARE}[train]"`:'
    yield _code(code)


def _code_of_timm(info: CheckpointInfo, name: str) -> Iterator[str]:
    """How timm reads a classifier: by its own network, and by ours where the two compute different things."""
    if info.task != "classify":
        return
    reading, folder = reading_of(info), json.dumps(f"local-dir:{name}", ensure_ascii=False)
    if reading.same:
        yield "With timm:"
        yield _code(["import timm", "", f"model = timm.create_model({folder}, pretrained=True)"])
    if reading.note:
        yield _text(reading.note) + ". By timm, but with this package's network, at every size alike:"
        yield _code(_registered(info, name))


def _registered(info: CheckpointInfo, name: str) -> list[str]:
    """The network under its original name, which `import twins.timm` registers."""
    keywords = {**info.create_model, "window_padding": info.window_padding}
    arguments = [f"    {key}={value!r}," for key, value in keywords.items()]
    original = str(info.model).removeprefix("twins_").replace("svt", "alt_gvt")
    file = json.dumps(f"{name}/model.safetensors", ensure_ascii=False)
    call = ["model = timm.create_model(", f'    "{original}",', f"    checkpoint_path={file},", *arguments, ")"]
    return ["import timm", "import twins.timm", "", *call]


def _images(info: CheckpointInfo) -> str:
    from ..data.classify.transforms import SMALL  # needs torchvision, so not before it is used

    match info.preprocessing:
        case ClassifyPreprocessing(size=(height, width)) if max(height, width) <= SMALL:
            how = f"resized to {height}x{width} pixels"
        case ClassifyPreprocessing(size=(height, width), crop_pct=share):
            how = f"resized (bicubic) so that the middle {height}x{width} pixels are {share:g} of it, and cropped"
        case SegmentPreprocessing(resize=(longest, shortest)):
            how = f"resized (bilinear) to a short side of {shortest} pixels, a long side of {longest} at most"
        case DetectPreprocessing(min_size=shortest, max_size=longest):
            how = f"resized (bilinear) to a short side of {shortest} pixels, a long side of {longest} at most"
    assert info.preprocessing is not None
    mean, std = (", ".join(f"{n:g}" for n in values) for values in (info.preprocessing.mean, info.preprocessing.std))
    return f"## Images\n\nAn image is {how}; pixels in [0, 1] are normalised by mean {mean} and std {std}."


def _training(info: CheckpointInfo) -> str:
    if info.recipe is None:
        return "## Training\n\nNothing is known of it: the weights say nothing of their run."
    rows = _table(("setting", "value"), ((key, _shown_value(value)) for key, value in _told(info.recipe).items()))
    start = f"Data: {_text(_data_of(info) or 'not stated')}. Settings that differ from the defaults of `twins train` "
    return f"## Training\n\n{start}(all of them are in config.json):\n\n{rows}"


def _told(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe a reader wants to know: where it departs from the defaults of its task."""
    usual = recipe_class(str(recipe["task"]))().to_dict() if "task" in recipe else {}
    return {
        name: value
        for name, value in recipe.items()
        if name not in _OF_THIS_MACHINE and value is not None and value != usual.get(name)
    }


def _shown_value(value: Any) -> str:
    if isinstance(value, str):
        return PurePath(value).name
    return ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def _data_of(info: CheckpointInfo) -> str | None:
    """The data's name: of its path the last part."""
    data = (info.recipe or {}).get("data")
    return PurePath(str(data)).name if data else None


def _title(key: str) -> str:
    return METRICS[key].title if key in METRICS else key


def _table(heads: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [heads, ("---", "---"), *((_text(a), _text(b)) for a, b in rows)]
    return "\n".join(f"| {a} | {b} |" for a, b in lines)


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _text(text: str) -> str:
    r"""One line in which nothing is Markdown or HTML."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in shown(text))
