"""ExecuTorch: its own runtime computes what PyTorch does, and the program describes itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.exported import describe, exportable_to
from twins.errors import TwinsError
from twins.export.capture import captured
from twins.export.executorch_file import to_executorch
from twins.export.shape import Shape
from twins.runtimes.opening import open_exported


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_a_program_is_exact_and_described(task: str, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    network, path = exportable_to(task), tmp_path / "network.pte"
    converted = to_executorch(captured(network, Shape(1, (64, 96)), 3, 32), network.outputs)
    description = describe(network, task, sizes=((64, 96),), batch=1)
    for checked in (None, {"differences": {}}):  # written twice, before and after it is judged
        converted.save(path, description.with_check(checked))
    opened = open_exported(path)
    assert opened.description.to_json() == description.with_check({"differences": {}}).to_json()
    assert "XNNPACK" in opened.runtime
    for images in torch.rand(2, 1, 3, 64, 96):
        with torch.no_grad():
            expected = network(images)
        found = opened(images)
        assert found.keys() == expected.keys()
        assert torch.allclose(found["logits"], expected["logits"], atol=1e-5)
    with pytest.raises(TwinsError, match="takes 1 images at once, not 2"):
        opened(torch.rand(2, 3, 64, 96))


@pytest.mark.slow
def test_a_damaged_program_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    path = tmp_path / "network.pte"
    path.write_bytes(b"no program at all")
    with pytest.raises(TwinsError, match=r"network\.pte: is damaged, or not what its suffix says"):
        open_exported(path)
