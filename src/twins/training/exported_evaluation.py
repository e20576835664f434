"""What the recipe of an evaluation may ask of an exported network, which computes as it was exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import TwinsError
from ..preprocessing import ClassifyPreprocessing
from ..recipes import NETWORK_OF_TASK, Recipe
from ..runtimes.exported_info import ExportedInfo

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)

# Fields of recipes that make the network or say how PyTorch computes it.
_OF_THE_NETWORK = (
    *("model", "model_kwargs", "window_padding", "head", "head_channels", "detector", "amp", "amp_dtype"),
)


def check_task_and_changes(info: ExportedInfo, task: str, changes: Mapping[str, Any]) -> None:
    """Raises TwinsError for another task than the network's, and for a change of the network itself."""
    if task != info.task:
        kind, wanted = NETWORK_OF_TASK[info.task or ""], NETWORK_OF_TASK[task]
        raise TwinsError(f"{info.source}: is a {kind}, and --task {task} takes a {wanted}: leave --task out")
    for name in _OF_THE_NETWORK:
        if name in changes:
            flag = "--" + name.replace("_", "-")
            raise TwinsError(f"{info.source}: computes as it was exported: leave {flag} out, or take the checkpoint")


def fitted_to_export(recipe: AnyRecipe, info: ExportedInfo, changes: Mapping[str, Any]) -> AnyRecipe:
    """The recipe with images as the exported network takes them: not normalised, and of a fixed size where it has one.

    A size among the user's `changes` stays, for the network itself to refuse.
    """
    ready = info.preprocessing
    assert ready is not None
    fields: dict[str, Any] = {"mean": ready.mean, "std": ready.std, "amp": False}
    if isinstance(ready, ClassifyPreprocessing) and info.network.description.sizes and "img_size" not in changes:
        fields["img_size"] = ready.img_size
    return recipe.replace(**fields)
