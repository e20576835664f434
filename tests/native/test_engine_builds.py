"""The engine built in other ways and run without Python: sanitizers, AVX-512's code on any CPU, Arm, clang."""

from __future__ import annotations

import runpy
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

import twins
from helpers.frozen_networks import SMALL, reference_outputs_of, small
from twins.native.packing import DTYPES, pack

ENGINE = Path(twins.__file__).parent / "native" / "engine"
CHECKS = Path(__file__).parent / "engine"
COMMON = ["engine", "instruction_sets", "memory", "reader", "threads"]
SETUP = runpy.run_path(str(Path(twins.__file__).parents[2] / "setup.py"))  # how the engine is built
FLAGS = SETUP["FLAGS"]
X86 = {**SETUP["FLAGS_OF_X86"], "isa_amx_emulated": []}
SANITIZED = ["-O1", "-g1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
# fp32 rounds, bf16 and int8 round more: how far the largest error of a logit or of a map may be
WITHIN = {"fp32": 1e-5, "bf16": 0.1, "int8": 0.3}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def needs(program: str) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    return program


def build(
    folder: Path, compiler: str, flags: list[str], portable: Path | None = None, more: tuple[str, ...] = ()
) -> str:
    """The program of engine/check.cpp: with the portable instruction set, or one that stands in for it, and `more`."""
    sources = [CHECKS / "check.cpp", *(ENGINE / f"{name}.cpp" for name in COMMON)]
    left_out = {"isa_avx2": "-DWITHOUT_AVX2", "isa_amx_emulated": "-DWITHOUT_EMULATION"}
    defines = [define for name, define in left_out.items() if name not in more]
    common = [needs(compiler), *FLAGS, *flags, f"-I{ENGINE}"]
    isa = portable or ENGINE / "isa_portable.cpp"
    run([*common, *(X86["isa_avx2"] if "words" in isa.stem else []), "-c", str(isa), "-o", str(folder / "portable.o")])
    objects = [str(folder / "portable.o")]
    for name in more:
        objects.append(str(folder / f"{name}.o"))
        run([*common, *X86[name], "-c", str(ENGINE / f"{name}.cpp"), "-o", objects[-1]])
    run([*common, *defines, *map(str, sources), *objects, "-o", str(folder / "check")])
    return str(folder / "check")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of odd sizes, paddings, batches and dtypes, with the outputs of PyTorch's fp32."""
    folder = tmp_path_factory.mktemp("cases")
    torch.manual_seed(0)
    files = []
    for i, (name, padding, size) in enumerate(
        (name, padding, size)
        for name in SMALL
        for padding in ("mask", "zero", "mask-both")
        for size in ((1, 1), (3, 5), (33, 57), (29, 140), (96, 101))
    ):
        keywords = {"features_only": True, "stage_norms": True, "out_indices": (1, 2, 3)} if i % 2 else {}
        sr_ratios = (1, 1, 1, 1) if i % 5 == 3 else (8, 4, 2, 1)  # hundreds of keys: several blocks of them
        model = small(name, window_padding=padding, sr_ratios=sr_ratios, in_chans=1 + i % 3, **keywords)
        images = torch.randn((1, 3, 5)[i % 3], 1 + i % 3, *size)
        for dtype in DTYPES:
            files.append(str(folder / f"{i}-{name}-{padding}-{size[0]}x{size[1]}-{dtype}"))
            write_case(Path(files[-1]), pack(model, dtype), images, reference_outputs_of(model, images), WITHIN[dtype])
    return files


def write_case(path: Path, packed: Tensor, images: Tensor, outputs: list[Tensor], within: float) -> None:
    lying = [output.permute(0, 2, 3, 1) if output.ndim == 4 else output for output in outputs]
    batch, _, height, width = images.shape
    head = [packed.numel(), images.numel(), batch, height, width, len(outputs), round(1e9 * within)]
    words = struct.pack(f"<{len(head) + len(lying)}q", *head, *(output.numel() for output in lying))
    parts = [packed, images, *lying]
    path.write_bytes(words + b"".join(part.contiguous().numpy().tobytes() for part in parts))


@pytest.mark.parametrize("instruction_set", ["portable", "avx2", "amx_emulated"])
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(tmp_path: Path, cases: list[str], sanitizers: str, instruction_set: str) -> None:
    if instruction_set == "avx2" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no AVX2")
    more = () if instruction_set == "portable" else (f"isa_{instruction_set}",)
    program = build(tmp_path, "g++", [*SANITIZED, f"-fsanitize={sanitizers}"], more=more)
    for threads in ("1", "3"):
        assert "0 failures" in run([program, instruction_set, threads, *cases])


@pytest.mark.parametrize("lanes", ["sixteen_lanes", "sixteen_lanes_of_words"])
def test_code_of_avx512_is_right_on_any_cpu(tmp_path: Path, cases: list[str], lanes: str) -> None:
    if "words" in lanes and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no AVX2")
    program = build(tmp_path, "g++", ["-O1"], portable=CHECKS / f"{lanes}.cpp")
    assert "0 failures" in run([program, "portable", "2", *cases])


def test_arm_gives_the_same_outputs(tmp_path: Path, cases: list[str]) -> None:
    emulator = needs("qemu-aarch64")
    program = build(tmp_path, "aarch64-linux-gnu-g++", ["-O2", "-static"], more=("isa_amx_emulated",))
    for instruction_set in ("portable", "amx_emulated"):
        assert "0 failures" in run([emulator, program, instruction_set, "2", *cases])


def test_clang_builds_it_too(tmp_path: Path, cases: list[str]) -> None:
    has_avx2 = "avx2" in Path("/proc/cpuinfo").read_text()
    more = ("isa_amx_emulated", *(["isa_avx2"] if has_avx2 else []))
    program = build(tmp_path, "clang++", ["-O2"], more=more)
    for instruction_set in ("portable", "amx_emulated"):
        assert "0 failures" in run([program, instruction_set, "2", *cases])


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_tiles_are_multiplied_by_the_instructions_of_amx(tmp_path: Path, compiler: str) -> None:
    """On any CPU: what the compilers make of the code, disassembled."""
    target = str(tmp_path / "isa.o")
    run([needs(compiler), *FLAGS, "-O2", *X86["isa_amx"], "-c", str(ENGINE / "isa_amx.cpp"), "-o", target])
    text = run([needs("objdump"), "-d", "--no-show-raw-insn", target])
    instructions = [line.split("\t")[1].split() for line in text.splitlines() if line.count("\t") > 0]
    seen = {(words[0], *(words[1].split(",") if len(words) > 1 else [])) for words in instructions}
    for name in ("ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored"):
        assert any(words[0] == name for words in seen), name
    for product in ("tdpbf16ps", "tdpbusd"):  # panel, rows, sums: as AT&T writes them, the last is the destination
        tiles = {words[1:] for words in seen if words[0] == product}
        expected = {(f"%tmm{6 + s % 2}", f"%tmm{4 + s // 2}", f"%tmm{s}") for s in range(4)}
        assert tiles == expected


@pytest.mark.parametrize("isa", X86)
def test_instruction_sets_share_no_functions(tmp_path: Path, isa: str) -> None:
    """A weak symbol compiled for one CPU could be the one that the linker keeps for all of them."""
    target = tmp_path / "isa.o"
    flags = ["-O1", "-fvisibility=hidden"]
    run([needs("g++"), *FLAGS, *flags, *X86[isa], "-c", str(ENGINE / f"{isa}.cpp"), "-o", str(target)])
    symbols = run([needs("nm"), "-C", "--defined-only", str(target)]).splitlines()
    # What is too long for nm stays mangled; DW.ref is no code, but where destructors find the unwinder.
    own = (f"twins::{isa[4:]}::", f"5twins{len(isa[4:])}{isa[4:]}", "DW.ref.")
    shared = [line for line in symbols if line.split()[1] in "WVu" and not any(name in line for name in own)]
    assert shared == []
    assert any(f"twins::{isa[4:]}_kernels" in line for line in symbols)
