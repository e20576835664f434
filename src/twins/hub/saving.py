"""Write a network as a folder that timm, the Hugging Face hub and this package read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import nn

from ..atomic_write import atomic_file, atomic_folder
from ..checkpoints.files import CONFIG, WEIGHTS_BESIDE_CONFIG, expanded
from ..checkpoints.info import CheckpointInfo, read_info
from ..checkpoints.model_folder import is_ours
from ..checkpoints.safetensors_digest import with_digest
from ..errors import TwinsError
from ..optional_dependencies import need
from ..preprocessing import Preprocessing
from .card import model_card
from .config import config_of
from .network import describe_network, whole_network
from .timm_network import reading_of
from .validation import Validation, validation_of

WEIGHTS = WEIGHTS_BESIDE_CONFIG[0]
CARD = "README.md"
UNKNOWN_LICENSE = "unknown"  # the hub's own word
_REMEDY = "name a folder that can be written"


def save_pretrained(
    model: nn.Module | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    metrics: Mapping[str, float] | None = None,
    license: str = UNKNOWN_LICENSE,
    exist_ok: bool = False,
) -> tuple[str, ...]:
    """Write a network as `config.json`, `model.safetensors` and `README.md`, a model card, ready to be published.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` reads classifiers; `twins.create_model(weights=FOLDER)`,
    `twins.load(FOLDER)` and everything else that takes a checkpoint reads it too, whatever the task.

    Parameters
    ----------
    model:
        A classifier, segmenter or detector of this package; or a checkpoint of any dialect, of which the averaged
        weights are taken where there are some.
    folder:
        Where to write: what is not there yet, or an empty folder.
    classes:
        One name for each class, in order; by default the checkpoint's.
    preprocessing:
        What makes images ready; by default the checkpoint's, or that of the published networks. A detector has its own.
    metrics:
        Validation metrics in per cent for the model card, as `twins eval` names them: acc1, miou, ap ... By default
        those of the checkpoint's run at the epoch of its weights, if they are known.
    license:
        Of the weights, by the hub's name of it, as "apache-2.0".
    exist_ok:
        Replace these three files in a folder that this function has written before; others stay.

    Returns
    -------
    What there is to say of it, a line each: which files there are, what timm makes of them, what is not known.

    Raises TwinsError for what is no whole network of ours, names of another number of classes, a folder that holds
    something else or cannot be written; nothing is left half-written.
    """
    if isinstance(model, nn.Module):
        info = describe_network(model, classes, preprocessing)
    else:
        info = read_info(model).with_classes(classes)
        if preprocessing is not None:
            raise TwinsError(f"{info.source}: knows its own preprocessing: leave preprocessing out")
    return save_hub_folder(info, folder, metrics, license, exist_ok)


def save_hub_folder(
    source: str | os.PathLike[str] | CheckpointInfo,
    folder: str | os.PathLike[str],
    metrics: Mapping[str, float] | None = None,
    license: str = UNKNOWN_LICENSE,
    exist_ok: bool = False,
) -> tuple[str, ...]:
    """As `save_pretrained`, of a checkpoint or of what `read_info` made of one."""
    info = read_info(source).with_model(None)
    if info.task is None:
        raise TwinsError(f"{info.source}: holds a backbone without a head: a whole network can be published")
    target = expanded(folder)
    _check_target(target, exist_ok)
    safetensors = need("safetensors.torch", extra="train")
    weights = {name: tensor.contiguous() for name, tensor in whole_network(info).state_dict().items()}
    validation = validation_of(info)
    if metrics is not None:
        validation = Validation({name: float(value) for name, value in metrics.items()}, "as its publisher states")
    with _files(target) as files:
        safetensors.save_file(weights, files[WEIGHTS], metadata=with_digest(weights, {"format": "pt"}))
        text = json.dumps(config_of(info, validation, license), indent=1, ensure_ascii=False) + "\n"
        files[CONFIG].write_text(text, encoding="utf-8")
        parameters = sum(tensor.numel() for tensor in weights.values())
        card = model_card(info, validation, license, target.resolve().name, parameters)
        files[CARD].write_text(card, encoding="utf-8")
    return tuple(_lines(info, validation, license, target))


def _lines(info: CheckpointInfo, validation: Validation | None, license_name: str, target: Path) -> Iterator[str]:
    """What there is to say of a folder."""
    yield f"wrote {target}: {CONFIG}, {WEIGHTS} and {CARD}, the model card"
    if info.task == "classify" and (note := reading_of(info).note):
        yield f"{note}; import twins.timm for this one (see the card)"
    if validation is None:
        yield "no validation metrics are known of these weights: twins eval measures them, and metrics=... states them"
    if license_name == UNKNOWN_LICENSE:
        yield "the card names no license: state one (license, --license), as apache-2.0"


def _check_target(folder: Path, exist_ok: bool) -> None:
    """Raises TwinsError for a folder in which there is something that is not to be replaced."""
    if folder.exists() and not folder.is_dir():
        raise TwinsError(f"{folder} is a file: name a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not is_ours(folder):
        raise TwinsError(f"{folder} is not empty, and no folder that this command has written: name another")
    if not exist_ok:
        raise TwinsError(f"{folder} holds a model already: name another folder, or pass exist_ok to replace it")


@contextmanager
def _files(folder: Path) -> Iterator[dict[str, Path]]:
    """Where to write each file; all of them are in their places at the end, or, where something is raised, none."""
    names = (WEIGHTS, CARD, CONFIG)
    if folder.is_dir():
        with ExitStack() as replaced:
            yield {name: replaced.enter_context(atomic_file(folder / name, _REMEDY)) for name in names}
    else:
        with atomic_folder(folder, _REMEDY) as beside:
            yield {name: beside / name for name in names}
