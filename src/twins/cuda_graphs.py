"""Inference by CUDA graphs: a hundred small kernels are started at once, which is what small batches wait for."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from .errors import TwinsError

_WARM_UP = 3  # calls before the recording: libraries choose algorithms and kernels are compiled in the first


def graphed(model: nn.Module, max_shapes: int = 8) -> Graphed:
    """The model with its kernels recorded, for inference: called alike, and it answers the same.

    Each shape and type of images is recorded when it first comes, and so is each setting of autocast; of more than
    `max_shapes` the one unused for longest is forgotten. A recording keeps its intermediate maps: meant for small
    batches, where starting kernels takes longer than they do. Weights may change in place, but must not be moved.
    Images on a CPU are answered by the model itself, and that is logged once.

    Raises TwinsError for a model in training mode, or fewer than one shape.
    """
    if max_shapes < 1:
        raise TwinsError(f"max_shapes must be 1 or more, not {max_shapes}")
    return Graphed(model, max_shapes)


class Graphed(nn.Module):
    """Recordings of a model's forward pass. Made by `graphed`."""

    def __init__(self, model: nn.Module, max_shapes: int) -> None:
        super().__init__()
        self.model, self.max_shapes = model, max_shapes
        self._recordings: OrderedDict[tuple[Any, ...], _Recording] = OrderedDict()
        self._told = False

    @torch.no_grad()
    def forward(self, images: Tensor) -> Any:
        if any(module.training for module in self.model.modules()):
            raise TwinsError("graphed is for inference: call eval() on the model first")
        if not images.is_cuda:
            self._tell("CUDA graphs: images on a CPU, which has none; the model runs as it is")
            return self.model(images)
        key = (images.shape, images.dtype, images.device, torch.is_autocast_enabled("cuda"),
               torch.get_autocast_dtype("cuda"))  # fmt: skip
        if key not in self._recordings:
            while len(self._recordings) >= self.max_shapes:
                self._recordings.popitem(last=False)
            self._recordings[key] = _Recording(self.model, images)
        self._recordings.move_to_end(key)
        return self._recordings[key].replay(images)

    def _tell(self, text: str) -> None:
        if not self._told:
            logging.getLogger(__name__).warning(text)
        self._told = True


class _Recording:
    """One shape: images are copied to where the graph reads, and answers from where it writes."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._images = images.clone()
        with torch.cuda.device(images.device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    model(self._images)
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # Autocast remembers cast weights for its whole block, which a recording must not rely on.
            cached = torch.is_autocast_cache_enabled()
            torch.set_autocast_cache_enabled(False)
            try:
                with torch.cuda.graph(self._graph):
                    self._answer = model(self._images)
            finally:
                torch.set_autocast_cache_enabled(cached)

    def replay(self, images: Tensor) -> Any:
        with torch.cuda.device(images.device):
            self._images.copy_(images)
            self._graph.replay()
            return _copy(self._answer)


def _copy(answer: Any) -> Any:
    """The next replay writes over the graph's own."""
    return answer.clone() if isinstance(answer, Tensor) else [tensor.clone() for tensor in answer]
