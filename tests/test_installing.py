"""Installing where there is no compiler: the engine is left out, which is reported, and the wheel is tagged as ever."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="these tests do not lie in a checkout")
def test_without_a_compiler_the_engine_is_left_out_in_one_line(tmp_path: Path) -> None:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src" / "twins" / "native" / "engine", tmp_path / "src" / "twins" / "native" / "engine")
    (tmp_path / "src" / "twins" / "__init__.py").write_text('__version__ = "0"')
    command = [sys.executable, "setup.py", "bdist_wheel"]
    nobody = {"CC": "/nonexistent", "CXX": "/nonexistent"}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | nobody, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "The CPU engine is left out" in line]
    assert len(lines) == 1
    assert "twins.freeze will compute by PyTorch" in lines[0]
    assert not list(tmp_path.rglob("*.so"))
    (wheel,) = (tmp_path / "dist").iterdir()
    assert re.fullmatch(r"twins_vit-0-py3-none-(?!any).+\.whl", wheel.name)  # no Python's ABI, but a platform's
