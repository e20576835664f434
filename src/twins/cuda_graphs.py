"""Inference by CUDA graphs: hundreds of small kernels are launched at once, which is what small batches wait for."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from .errors import TwinsError

_WARM_UP = 3  # calls before the recording: libraries choose algorithms and kernels are compiled in the first


def graphed(model: nn.Module, max_shapes: int = 8) -> Graphed:
    """The model as CUDA graphs, for inference: the same call, the same outputs.

    Each shape and dtype of images is recorded when it first comes, and so is each setting of autocast; of more than
    `max_shapes` recordings the least recently used is dropped. A recording keeps its intermediate maps: meant for small
    batches, where launching kernels takes longer than running them. Weights may change in place, but must not be moved.
    Images on a CPU go through the model itself, which is logged once.

    Raises TwinsError for fewer than one shape and, when called, for a model in training mode.
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
        self._warned = False

    @torch.no_grad()
    def forward(self, images: Tensor) -> Any:
        if any(module.training for module in self.model.modules()):
            raise TwinsError("graphed is for inference: call eval() on the model first")
        if not images.is_cuda:
            self._warn_once("CUDA graphs: images on a CPU, which has none; the model runs as it is")
            return self.model(images)
        key = (images.shape, images.dtype, images.device, torch.is_autocast_enabled("cuda"),
               torch.get_autocast_dtype("cuda"))  # fmt: skip
        if key not in self._recordings:
            while len(self._recordings) >= self.max_shapes:
                self._recordings.popitem(last=False)
            self._recordings[key] = _Recording(self.model, images)
        self._recordings.move_to_end(key)
        return self._recordings[key].replay(images)

    def _warn_once(self, message: str) -> None:
        if not self._warned:
            logging.getLogger(__name__).warning(message)
        self._warned = True


class _Recording:
    """The graph of one shape: images are copied to where it reads, and outputs from where it writes."""

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
                    self._output = model(self._images)
            finally:
                torch.set_autocast_cache_enabled(cached)

    def replay(self, images: Tensor) -> Any:
        with torch.cuda.device(images.device):
            self._images.copy_(images)
            self._graph.replay()
            return _copy(self._output)


def _copy(output: Any) -> Any:
    """A copy, since the next replay overwrites the graph's own."""
    return output.clone() if isinstance(output, Tensor) else [tensor.clone() for tensor in output]
