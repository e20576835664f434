"""What the runtimes have in common: an exported network is called with images and gives its outputs by name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from ..errors import TwinsError
from .description import Description


class ExportedNetwork:
    """A file that `twins export` wrote, as its own runtime runs it.

        network = twins.open_exported("flowers.onnx")
        network(images)["logits"]

    Attributes
    ----------
    path:
        The file.
    description:
        What it says of itself.
    runtime:
        What runs it, where and in which precision, in words: "ONNX Runtime 1.32.0, CPUExecutionProvider, fp32".
    device:
        Where images are expected and outputs are: the CPU, but for PyTorch's own programs.
    """

    def __init__(self, path: Path, description: Description, runtime: str, device: str = "cpu") -> None:
        self.path, self.description, self.runtime = path, description, runtime
        self.device = torch.device(device)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) float32 in [0, 1] -> the outputs of `Description`, by name.

        Raises TwinsError for a batch of a shape that the network does not take, and where the runtime fails on it.
        """
        self.description.check_images(images, str(self.path))
        try:
            return dict(zip(self.description.outputs, self.compute(images), strict=True))
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise TwinsError(f"{self.path}: {self.runtime} fails on these images: {reason}") from error

    def compute(self, images: Tensor) -> list[Tensor]:
        """The outputs in the order of the description."""
        raise NotImplementedError


def described(text: str | None, path: Path) -> Description:
    """The description that a file holds. Raises TwinsError for a file that twins did not write, and so has none."""
    if text is None:
        raise TwinsError(f"{path}: was not written by twins: it has no description; make one by twins export")
    return Description.from_json(text, str(path))


def existing(path: str | os.PathLike[str], remedy: str = "") -> Path:
    """The file. Raises TwinsError where there is none, or none that can be read, which ends in `remedy`."""
    file = Path(path)
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        advice = f"; {remedy}" if remedy else ""
        raise TwinsError(f"{file} cannot be read: {error.strerror}{advice}") from error


def damaged(path: Path, error: Exception) -> TwinsError:
    """For a file that its runtime cannot load."""
    reason = str(error).strip().partition("\n")[0][:200]
    return TwinsError(f"{path}: is damaged, or not what its suffix says ({reason}): export it again")
