"""Attention as heat maps over an image: which blocks, from which token, under which title."""

from __future__ import annotations

from ..plots.heat_maps import COLUMNS, HeatMap
from .attention import AttentionMaps
from .block_attention import BlockAttention
from .scores import Pixel
from .views import View


def rollout_map(maps: AttentionMaps, view: View, title: str, pixel: Pixel | None = None) -> HeatMap:
    """To the token of a pixel, or to all tokens of the last map."""
    heat = maps.rollout(None if pixel is None else _token(maps.blocks[-1], view, pixel))
    return HeatMap(("attention rollout", title), heat[0].cpu(), view.cell(maps.blocks[0].stride))


def last_two_of_each_stage(maps: AttentionMaps) -> list[list[BlockAttention]]:
    """Two rows with a block a stage: in SVT the last LSA and the last GSA; one row if a stage has no two blocks."""
    by_stage = _by_stage(maps)
    depth = min(2, *map(len, by_stage))
    return [[of_stage[-i] for of_stage in by_stage] for i in range(depth, 0, -1)]


def last_with_a_choice(maps: AttentionMaps) -> list[BlockAttention]:
    """A block a stage, the last whose tokens have several keys: GSA of a small image may have one, for all tokens."""
    return [next((b for b in reversed(of_stage) if b.keys.shape[-2] > 1), of_stage[-1]) for of_stage in _by_stage(maps)]


def _by_stage(maps: AttentionMaps) -> list[list[BlockAttention]]:
    by_stage: list[list[BlockAttention]] = []
    for block in maps.blocks:
        if block.index == 0:
            by_stage.append([])
        by_stage[-1].append(block)
    assert len(by_stage) <= COLUMNS
    return by_stage


def attention_map(block: BlockAttention, view: View, pixel: Pixel) -> HeatMap:
    """Where the token of a pixel looks, as the mean over the heads."""
    heat = block.of_token(*_token(block, view, pixel))[0].mean(dim=0).cpu()
    titles = f"{block.kind}, {block.name}", f"largest {_percent(float(heat.max()))}"
    return HeatMap(titles, heat, view.cell(block.stride))


def _token(block: BlockAttention, view: View, pixel: Pixel) -> tuple[int, int]:
    height, width = view.cell(1)
    return block.token_at(pixel[0] / height, pixel[1] / width)


def _percent(share: float) -> str:
    """With two digits that count: 0.24 %, 5.6 %, 37 %, 100 %."""
    return f"{100 * share:.{0 if share >= 0.0995 else 1 if share >= 0.00995 else 2}f} %"
