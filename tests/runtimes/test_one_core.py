"""Networks that OpenVINO has compiled come and go, and the process lives on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.exported import describe, exportable_to

SCRIPT = """
import gc, os, signal, sys
from pathlib import Path
from twins.runtimes.opening import open_exported
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
first = open_exported(Path(sys.argv[1]))
second = open_exported(Path(sys.argv[1]))
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_handled_after_two_networks_have_gone(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    images = openvino.opset13.parameter([1, 3, 2, 2], openvino.Type.f32, name="images")
    weight = openvino.opset13.constant([[1.0], [2.0]], openvino.Type.f32)
    logits = openvino.opset13.matmul(images, weight, False, False)
    logits.output(0).set_names({"logits"})
    images.output(0).set_names({"images"})
    model = openvino.Model([logits], [images])
    model.set_rt_info(describe(exportable_to("classify"), sizes=((2, 2),), batch=1).to_json(), ["twins"])
    openvino.save_model(model, tmp_path / "a.xml")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "a.xml")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
