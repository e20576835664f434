"""The metrics of a checkpoint on validation images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..checkpoints.info import CheckpointInfo
from ..class_names import numbered
from ..data.folders import images_in_words
from ..data.loading import UnreadableImages
from ..distributed.collectives import from_main
from ..distributed.world import init_distributed
from ..errors import TwinsError
from ..networks import device_for, info_of, open_network, selection_of
from ..preprocessing import ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing
from ..recipes import DetectRecipe, Recipe, find_recipe, stored_recipe
from ..recipes.base import read_json
from ..recipes.pipes import as_first_given
from ..recipes.values import folder_name
from ..runtimes.exported_info import ExportedInfo
from ..tasks import Task, make_task
from .exported_evaluation import check_task_and_changes, fitted_to_export
from .remembered_split import known_split
from .report_writing import ReportWriter
from .run_folder import RunFolder, new_run_folder, provenance
from .setup_file import peak_memory_mb, setup_record
from .validation import validate

Source = str | os.PathLike[str] | CheckpointInfo


def evaluate_checkpoint(
    recipe: Recipe,
    source: Source,
    ema: bool | None = None,
    announce: Callable[[Task, dict[str, float]], None] | None = None,
    images: int | None = None,
) -> dict[str, float]:
    """Evaluate a checkpoint of any dialect, or an exported network; returns its metrics.

    Parameters
    ----------
    recipe:
        How: as a rule that of `recipe_of_checkpoint`.
    source:
        A file, or what `info_of` made of one. The classes that it names itself hold.
    ema:
        Take the moving average that the checkpoint keeps, or leave it; by default it is taken where there is one,
        since that is what its run evaluated.
    announce:
        Called by the main process with the task and the metrics; by default they are printed, and drawn into a folder
        of their own.
    images:
        Measure so many of the images, evenly spaced; by default all.

    Raises TwinsError for data, device or weights that cannot be used.
    """
    info = info_of(source)
    with init_distributed(device_for(info, recipe.device)) as world:
        task = make_task(recipe.replace(weights=None), _classes_to_meet(info, recipe.task))
        _, val = task.datasets(evaluation_only=True)
        if task.classes == numbered(len(info.classes)):
            task.classes = info.classes  # the data has no names
        selection = selection_of(recipe) if isinstance(recipe, DetectRecipe) else None
        if info.task == recipe.task:  # weights of another task lack a head, and `open_network` says so
            _check_classes(info, len(task.classes), recipe.data)
        network = open_network(info, world.device, ema, task.build, selection)
        task.notes += network.remarks
        unreadable = UnreadableImages(recipe.bad_images)
        started = time.time()
        metrics = validate(task, network.model.to(world.device), val, recipe, world, unreadable, images)
        seconds = time.time() - started
        left_out = unreadable.over_all_ranks()
        if announce is None:
            run = RunFolder(from_main(new_run_folder(recipe)), main=world.is_main)
            run.create()
            if world.is_main:
                if not info.ours:
                    epsilon = recipe.model_kwargs.get("norm_eps", 1e-6)
                    task.notes.append(info.conventions(recipe.window_padding, epsilon))
                record = setup_record(task, recipe, network.model, world, {task.part or "all": len(val)}, task.notes)
                record |= {"weights": str(info.source), "seconds": round(seconds, 1), "left_out": left_out}
                if isinstance(info, ExportedInfo):
                    record["backend"] = info.network.runtime
                run.write_json("setup.json", record | {"peak_memory_mb": peak_memory_mb(world.device)})
                run.write_json("recipe.json", {"recipe": recipe.to_dict(), "ran_on": provenance()})
                write_evaluation(run, task, metrics, left_out, recipe.data)
        elif world.is_main:
            announce(task, metrics)
    return metrics


def _check_classes(info: CheckpointInfo, count: int, data: str) -> None:
    """Raises TwinsError where the network tells another number of classes apart than are to be measured."""
    if info.classes and len(info.classes) != count:
        raise TwinsError(f"{info.source}: does not fit {count} classes of {data}: it tells {len(info.classes)} apart")


def write_evaluation(run: RunFolder, task: Task, metrics: dict[str, float], left_out: list[str], data: str) -> None:
    """Print the metrics and what part of the data they are of, and put them, images and a report into the folder."""
    shown = "  ".join(f"{title} {metrics[name]:.{digits}f}" for name, title, digits in task.columns)
    for note in task.notes:
        run.say(note)
    run.say(f"{shown}  on {metrics['images']:.0f} {images_in_words(task.part)} of {data}")
    if left_out:
        run.say(f"left out {len(left_out)} unreadable images: {', '.join(left_out[:3])}")
    run.write_json("metrics.json", metrics)
    task.draw(run.path)
    for finding in task.findings():
        run.say(finding)
    what = "report, images and tables" if ReportWriter(run).write() else "images and tables"
    run.say(f"{what} in {run.path}")


def recipe_of_checkpoint(
    source: Source, task: str | None = None, changes: Mapping[str, Any] | None = None, published: str | None = None
) -> Recipe:
    """The recipe to evaluate a checkpoint by: that of its own run, or else one that fits its weights.

    Parameters
    ----------
    source:
        A file, or what `info_of` made of one.
    task:
        "classify", "segment" or "detect"; by default what the checkpoint is for.
    changes:
        Fields of the recipe that are to be others. Without `data` the validation images of its own run are meant.
    published:
        The run that weights of others are from: a recipe's name, or its file.

    Raises TwinsError where neither the checkpoint nor `changes` says what is needed, and for what an exported network
    cannot do.
    """
    info = info_of(source)
    task = task or info.task or "classify"
    if isinstance(info, ExportedInfo):
        check_task_and_changes(info, task, changes or {})
        recipe = _recipe_of_weights(info, task, changes or {}, published)
        return fitted_to_export(recipe, info, changes or {})
    return _recipe_of_weights(info, task, changes or {}, published)


def _recipe_of_weights(info: CheckpointInfo, task: str, changes: Mapping[str, Any], published: str | None) -> Recipe:
    """As if the network were made in PyTorch."""
    wanted: dict[str, Any] = {"name": folder_name(f"{_run_of(info)}-eval"), "output": "runs", **changes}
    if task == "classify":  # how its run decoded decides nothing, and may need a library that is not here
        wanted = {"decoder": "auto", **wanted}
    if info.recipe is not None:
        if published is not None:
            raise TwinsError(f"{info.source}: knows its own recipe: leave --recipe out")
        return _recipe_of_its_run(info, stored_recipe(info.recipe, task, info.source), wanted)
    if published is not None:
        recipe = find_recipe(published, task).replace(amp=False)
        windows = {"window_padding": recipe.window_padding} if _says_windows(published) else {}
        recipe = with_conventions(recipe, info).replace(**windows)
    else:
        info = info.with_model(wanted.pop("model", None))
        if "data" not in wanted:
            raise TwinsError(f"{info.source}: says nothing of its data; pass --data with a folder of images")
        recipe = find_recipe("pictures", task).replace(val_split=0.0, amp=False, model=info.model)
        if task == info.task:
            recipe = recipe.replace(**_fields_of_network(info))
    wanted["model_kwargs"] = recipe.model_kwargs | wanted.get("model_kwargs", {})
    return recipe.replace(**wanted)


def _run_of(info: CheckpointInfo) -> str:
    """What a checkpoint is called: its folder if it is one of a run or in a model folder, else its file."""
    path = Path(info.source).resolve()
    in_folder = path.stem.startswith("checkpoint") or "config_file" in info.checkpoint
    return path.parent.name if in_folder else path.stem


def with_conventions(recipe: Recipe, info: CheckpointInfo) -> Recipe:
    """The recipe for a network that computes as weights of others were trained.

    Windows at the border of a map and the epsilon of LayerNorm are what the checkpoint's head and dialect decide, the
    epsilon unless the recipe's `model_kwargs` give one; a Mask R-CNN has no mask head where the checkpoint has none.
    """
    facts = {name: value for name, value in _keywords(info).items() if name in ("norm_eps", "masks")}
    return recipe.replace(window_padding=info.window_padding, model_kwargs=facts | recipe.model_kwargs)


def _recipe_of_its_run(info: CheckpointInfo, own: Recipe, changes: dict[str, Any]) -> Recipe:
    if not _is_same_data(changes.get("data") or as_first_given(own.data), as_first_given(own.data)):
        changes = {"val_split": 0.0, **changes}
    if info.head == "mask_rcnn" and not info.create_model.get("masks", True):  # it learnt from data without masks
        own = own.replace(model_kwargs=own.model_kwargs | {"masks": False})
    return own.replace(split=known_split(info), **changes)


def _is_same_data(one: str, other: str) -> bool:
    """Whether two spellings mean the same folder or file."""
    return one == other or ("digits" not in (one, other) and Path(one).resolve() == Path(other).resolve())


def _fields_of_network(info: CheckpointInfo) -> dict[str, Any]:
    """The fields of a recipe that make the checkpoint's network, and images ready for it."""
    keywords, ready = _keywords(info), info.preprocessing
    assert ready is not None
    fields = {"window_padding": info.window_padding, "in_chans": keywords.pop("in_chans", 3)}
    match ready:
        case ClassifyPreprocessing():
            fields |= {"img_size": ready.img_size, "crop_pct": ready.crop_pct}
        case SegmentPreprocessing(resize=(longest, shortest)):
            fields |= {"head": info.head, "head_channels": keywords.pop("channels", None), "img_size": shortest}
            fields["resize"] = None if longest == 4 * shortest else (longest, shortest)  # so that it follows img_size
        case DetectPreprocessing(min_size=shortest, max_size=longest):
            fields |= {"detector": info.head, "img_size": shortest}
            fields["max_size"] = None if longest == 5 * shortest // 3 else longest
    return {**fields, "mean": ready.mean, "std": ready.std, "model_kwargs": keywords}


def _keywords(info: CheckpointInfo) -> dict[str, Any]:
    """The keywords of its network but those that the data or the recipe's own fields give."""
    keywords = {**info.create_model}
    for given in ("num_classes", "window_padding"):
        keywords.pop(given, None)
    if keywords.get("masks"):  # there is a mask head wherever the data has masks
        del keywords["masks"]
    return keywords


def _says_windows(published: str) -> bool:
    """Whether a recipe's file decides how windows are padded; the published recipes are about training alone."""
    path = Path(published)
    return path.suffix == ".json" and "window_padding" in read_json(path)


def _classes_to_meet(info: CheckpointInfo, task: str) -> tuple[str, ...]:
    """The classes that the data's must be; () where those of the data hold."""
    if info.task == "segment" and (info.recipe is None or not info.ours):
        return numbered(len(info.classes))  # masks tell classes by number, and perhaps not all of them
    return info.classes if info.classes_named or info.task == task == "classify" else ()
