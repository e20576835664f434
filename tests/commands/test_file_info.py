"""`twins info FILE`: what a file says of itself, which checksum it has, and that nothing of it is opened."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

import twins
from helpers.command_line import refusal
from helpers.exported import NETWORK, describe, exportable_to, network_to, save_checkpoint
from twins.cli import main
from twins.runtimes.description import KEY, Description
from twins.runtimes.one_core import shared_core


@pytest.fixture(scope="module")
def description() -> Description:
    made = describe(exportable_to("classify"), recipe={"name": "tiny"}, sizes=((64, 96),))
    return replace(made, versions={"twins": "9.9"}, checked={"differences": {"logits": 1e-7}})


def printed(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, str]:
    """The facts that are printed, by name."""
    assert main(["info", *map(str, argv)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {name: fact.strip() for name, _, fact in (line.partition("  ") for line in lines)}


def write_onnx(path: Path, description: Description) -> Path:
    """A file of one operator that says this of itself."""
    image, logits = (onnx.helper.make_tensor_value_info(name, 1, ["B", 3, 64, 96]) for name in ("images", "logits"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["images"], ["logits"])], "g", [image], [logits])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.helper.set_model_props(model, {KEY: description.to_json()})
    onnx.save(model, path)
    return path


def test_a_checkpoint_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(capsys, save_checkpoint(tmp_path / "a.pth"))
    assert facts["network"] == "twins_svt_small"
    assert facts["classes"] == "3: ant, bee, cat"
    assert facts["checksum"] == "CRC-32 of each tensor (zip)"
    assert facts["recipe"] == "tiny"
    assert f"embed_dims={','.join(map(str, NETWORK['embed_dims']))}" in facts["settings"]
    assert facts["written by"] == "twins"


def test_which_files_have_no_checksum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(network_to("classify").state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert printed(capsys, tmp_path / "a.pth")["checksum"] == "no checksum inside: damage would not be noticed"
    twins.save_pretrained(network_to("classify"), tmp_path / "net")
    assert printed(capsys, tmp_path / "net")["checksum"] == "SHA-256 of its content"


def test_an_onnx_file(tmp_path: Path, description: Description, capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(capsys, write_onnx(tmp_path / "a.onnx", description))
    assert facts["takes"] == "images (B, 3, 64, 96) float32, RGB bytes / 255"
    assert (facts["gives"], facts["dtype"], facts["classes"]) == ("logits", "fp32", "3: ant, bee, cat")
    assert facts["checked"] == "differences=logits=1e-07"


def test_an_openvino_file(tmp_path: Path, description: Description, capsys: pytest.CaptureFixture[str]) -> None:
    model = shared_core().read_model(str(write_onnx(tmp_path / "a.onnx", description)))
    model.set_rt_info(description.to_json(), [KEY])
    import openvino

    openvino.save_model(model, str(tmp_path / "a.xml"))
    assert printed(capsys, tmp_path / "a.xml")["network"] == "twins_svt_small"
    (tmp_path / "a.bin").unlink()
    assert "keep both files together" in refusal(capsys, "info", str(tmp_path / "a.xml"))


def test_a_program_is_not_opened(tmp_path: Path, description: Description, capsys: pytest.CaptureFixture[str]) -> None:
    """Of compiled ones that would run their code."""
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("a/data/aotinductor/model/code.so", b"\x7fELF no program at all")
        archive.writestr(f"a/extra/{KEY}", description.to_json())
    assert main(["info", str(tmp_path / "a.pt2"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["network"] == "twins_svt_small"
    assert facts["preprocessing"]["mean"] == [0.0, 0.0, 0.0]


def test_what_is_no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    assert "is damaged, or not what its suffix says" in refusal(capsys, "info", str(tmp_path / "a.onnx"))
    assert "is not there" in refusal(capsys, "info", str(tmp_path / "b.pth"))
