"""What counts as a product among the operators that a runtime lists."""

from __future__ import annotations

import pytest

from twins.export.execution import _is_product


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("Convolution", True), ("FusedConv", True), ("FullyConnected", True), ("Convert", False), ("Softmax", False)],
)
def test_a_conversion_of_dtypes_is_no_product(kind: str, expected: bool) -> None:
    assert _is_product(kind) is expected
