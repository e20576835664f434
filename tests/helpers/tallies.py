"""Whether tallies of shares of a data set add up, however it is shared out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from twins.data.check_results import Tally

T = TypeVar("T", bound=Tally)


def assert_shares_add_up(of_images: Sequence[T], whole: T) -> None:
    """`of_images` are the tallies of each image; any number of ranks may have them, and report in any order."""
    nothing = type(whole)()

    @given(st.data())
    def check(data: st.DataObject) -> None:
        ranks = data.draw(st.integers(1, len(of_images) + 5))
        shares = [sum(of_images[rank::ranks], nothing) for rank in range(ranks)]
        assert sum(data.draw(st.permutations(shares)), nothing) == whole

    check()
