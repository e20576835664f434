"""What is written down of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twins.bench import machine

X86 = "processor\t: 0\nmodel name\t: Abacus 9\nflags\t\t: fpu avx2 fma amx_int8\n\nmodel name\t: Slide rule\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd sve i8mm\n"


@pytest.mark.parametrize(("text", "name", "sets"), [
    (X86, "Abacus 9", ["avx2", "fma", "amx_int8"]),
    (ARM, "unknown", ["asimd", "sve", "i8mm"]),
    (None, "unknown", []),
])  # fmt: skip
def test_the_first_cpu_is_described(
    text: str | None, name: str, sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x86, Arm, and a system without /proc/cpuinfo."""
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(machine, "Path", lambda path: file)
    described = {"cpu": name, "instruction_sets": sets, "threads": torch.get_num_threads()}
    assert machine.describe_machine() == described


def test_packages_that_are_not_installed_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PACKAGES", ("torch", "no-such-package"))
    found = machine.versions()
    assert list(found) == ["twins", "git", "python", "torch"]
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
