"""Bounds: what is refused, and what waits."""

from __future__ import annotations

import asyncio

import pytest

from twins.serve.rooms import PixelRoom, Room


def test_a_room_refuses_what_is_too_much() -> None:
    room = Room(10, lambda: KeyError("full"))
    room.take(7)
    with pytest.raises(KeyError, match="full"):
        room.take(4)
    room.take(3)
    room.give_back(5)
    room.take(5)
    assert room.taken == 10


def test_pixels_are_waited_for_in_order() -> None:
    """The large one that waits is not passed by the small one behind it."""
    room, order = PixelRoom(100), []

    async def use(name: str, pixels: int, seconds: float) -> None:
        async with room.held(pixels):
            order.append(name)
            assert room.left >= 0
            await asyncio.sleep(seconds)

    async def all_of_them() -> None:
        await asyncio.gather(use("a", 60, 0.05), use("b", 90, 0.01), use("c", 10, 0.01), use("huge", 1000, 0))

    asyncio.run(all_of_them())
    assert order == ["a", "b", "c", "huge"]
    assert room.left == 100


def test_what_shrinks_makes_room() -> None:
    room = PixelRoom(100)

    async def both() -> int:
        async with room.held(100) as first:
            second = asyncio.create_task(take_ninety())
            await asyncio.sleep(0)
            assert not second.done()
            first.shrink(10)
            first.shrink(50)  # more than it holds: as it was
            return await second

    async def take_ninety() -> int:
        async with room.held(90):
            return room.left

    assert asyncio.run(both()) == 0
    assert room.left == 100


def test_who_gives_up_leaves_the_room_as_it_was() -> None:
    room = PixelRoom(100)

    async def give_up() -> None:
        async with room.held(80):
            waiting = asyncio.create_task(hold())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        given = asyncio.create_task(hold())  # has its turn, and is cancelled before it knows
        room.waiting.clear()
        given.cancel()
        await asyncio.gather(given, return_exceptions=True)

    async def hold() -> None:
        async with room.held(50):
            await asyncio.sleep(30)

    asyncio.run(give_up())
    assert room.left == 100
    assert not room.waiting
