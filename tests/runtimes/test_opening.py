"""Files that are no exported network: one line each, which names the file and the remedy."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import twins
from helpers.exported import describe, exportable_to
from twins.errors import TwinsError
from twins.runtimes.opening import is_exported


def test_a_suffix_says_which_runtime(tmp_path: Path) -> None:
    assert is_exported("a.onnx")
    assert is_exported(Path("a.xml"))
    assert not is_exported("checkpoint_best.pth")
    with pytest.raises(TwinsError, match=r"a.pth: no exported network by its name, which ends in .onnx, .xml, .pt2"):
        twins.open_exported(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_missing_and_damaged_files_are_refused(tmp_path: Path, suffix: str) -> None:
    for module in ("onnxruntime", "openvino"):
        pytest.importorskip(module)
    path = tmp_path / f"a{suffix}"
    with pytest.raises(TwinsError, match=f"a{suffix} cannot be read: No such file"):
        twins.open_exported(path)
    path.write_bytes(b"something else")
    path.with_suffix(".bin").touch()
    with pytest.raises(TwinsError, match=rf"a{suffix}: is damaged, or not what its suffix says \(.*export it again"):
        twins.open_exported(path)


def test_an_openvino_file_without_its_weights_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "a.xml").write_text("<net/>")
    with pytest.raises(
        TwinsError, match="a.bin cannot be read: No such file.*; it holds the weights of .*a.xml: keep both"
    ):
        twins.open_exported(tmp_path / "a.xml")


def test_why_an_openvino_file_is_damaged_is_said(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "a.xml").write_text('<?xml version="1.0"?>\n<net name="a" version="11"><layers></net>')
    (tmp_path / "a.bin").touch()
    with pytest.raises(TwinsError, match=r"is damaged, or not what its suffix says \(Start-end tags mismatch"):
        twins.open_exported(tmp_path / "a.xml")


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)]),
              tmp_path / "a.onnx")  # fmt: skip
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("a/version", "0")
    for name in ("a.onnx", "a.pt2"):
        with pytest.raises(TwinsError, match=f"{name}: was not written by twins: it has no description"):
            twins.open_exported(tmp_path / name)


def test_a_silent_fallback_from_the_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    description = describe(exportable_to("classify")).to_json()

    class OnTheCpu:
        def __init__(self, *_: object, **asked: object) -> None:
            assert asked == {"providers": ["CUDAExecutionProvider"]}

        def get_modelmeta(self) -> SimpleNamespace:
            return SimpleNamespace(custom_metadata_map={"twins": description})

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpu)
    (tmp_path / "a.onnx").touch()
    with pytest.raises(TwinsError, match=r"a.onnx: ONNX Runtime does not compute on cuda here, CPUExecutionProvider"):
        twins.open_exported(tmp_path / "a.onnx", "cuda")
