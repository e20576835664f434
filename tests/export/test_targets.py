"""What is not offered is refused in a line that says why, and what to do instead."""

from __future__ import annotations

import pytest

from twins.errors import TwinsError
from twins.export.targets import TARGETS, target_named


@pytest.mark.parametrize(
    ("to", "dtype", "words"),
    [
        ("tensorrt", "fp32", "--to tensorrt: can be checked on a GPU alone: export --to onnx and run trtexec"),
        ("coreml", "fp32", "--to coreml: can be checked on macOS alone: export --to pt2"),
        ("litert", "fp32", "--to litert: .* export --to executorch"),
        ("onxn", "fp32", "--to must be one of onnx, openvino, pt2, aoti, executorch, hub, not 'onxn'.*onnx"),
        ("onnx", "bf16", "--dtype bf16: ONNX Runtime does not compute bfloat16 on CPUs: export --to openvino"),
        ("pt2", "int8", "--dtype int8: .* export --to onnx or --to openvino"),
        ("aoti", "int8", "--dtype int8: .* export --to onnx or --to openvino"),
        ("executorch", "fp16", "--dtype of --to executorch must be one of fp32, not 'fp16'"),
        ("openvino", "fp8", "--dtype of --to openvino must be one of fp32, fp16, bf16, int8, not 'fp8'"),
    ],
)
def test_what_is_not_offered_says_what_to_do(to: str, dtype: str, words: str) -> None:
    with pytest.raises(TwinsError, match=f"^{words}") as caught:
        target_named(to, dtype)
    assert "\n" not in str(caught.value)


def test_int8_needs_a_way_to_quantise() -> None:
    assert {to for to, target in TARGETS.items() if "int8" in target.dtypes} == {
        to for to, target in TARGETS.items() if target.quantise is not None
    }
