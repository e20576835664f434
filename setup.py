"""Builds the CPU engine, a plain shared library that `twins.native.library` loads. All else is in pyproject.toml.

No header of Python or PyTorch is needed, only a C++20 compiler of GCC's kind. Without one the installation goes on, and
`twins.freeze` falls back to PyTorch. Each instruction set has a file of its own, compiled with its flags alone: the
CPU that runs the library decides which of them is used.
"""

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, ExecError, LinkError, PlatformError

ENGINE = Path("src/twins/native/engine")
# Hot loops are unrolled and vectorised by the source itself: -O3 makes nothing faster and takes longer to compile.
FLAGS = ["-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno",
         "-fno-trapping-math", "-pthread", "-g0", "-w", "-Wno-psabi"]  # fmt: skip
FLAGS_OF_EMULATION = ["-O1", "-ftree-vectorize"]  # run by tests alone
AVX512 = ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
FLAGS_OF_X86 = {
    "isa_avx2": ["-mavx2", "-mfma"],
    "isa_avx512": AVX512,
    "isa_avx512_vnni": [*AVX512, "-mavx512vnni"],
    "isa_avx512_bf16": [*AVX512, "-mavx512bf16"],
    "isa_amx": [*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8"],
}


class BuildEngine(build_ext):
    def get_ext_filename(self, ext_name: str) -> str:
        return str(Path(*ext_name.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        try:
            self.build_engine(ext)
        except (CompileError, ExecError, LinkError, PlatformError) as error:
            # said as a warning, since the extension is optional
            raise CompileError(
                f"{error}. The CPU engine is left out, and twins.freeze will compute by PyTorch; with a C++20 compiler "
                "(g++ 12 or clang++ 14, or later) install again"
            ) from error

    def build_engine(self, ext: Extension) -> None:
        def compile_one(source: str) -> list[str]:
            isa = Path(source).stem
            flags = FLAGS + (FLAGS_OF_EMULATION if isa == "isa_amx_emulated" else FLAGS_OF_X86.get(isa, []))
            return self.compiler.compile(
                [source], output_dir=self.build_temp, extra_postargs=flags, depends=ext.depends
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = [path for paths in pool.map(compile_one, ext.sources) for path in paths]
        target = Path(self.get_ext_fullpath(ext.name))
        fresh = target.with_suffix(".new")  # a process that has the old one mapped keeps it
        self.compiler.link_shared_object(objects, str(fresh), extra_postargs=["-pthread"], target_lang="c++")
        fresh.replace(target)


class Wheel(bdist_wheel):
    """For every Python on this platform: the engine is loaded by ctypes and knows nothing of Python's ABI.

    A wheel without the engine is tagged the same: as "any" it would be installed where the engine could be built.
    """

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def engine() -> Extension:
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    sources = [path for path in sorted(ENGINE.glob("*.cpp")) if is_x86 or path.stem not in FLAGS_OF_X86]
    headers = sorted(ENGINE.glob("*.h"))
    return Extension(
        "twins.native._engine", [str(s) for s in sources], depends=[str(h) for h in headers], optional=True
    )


if __name__ == "__main__":
    setup(ext_modules=[engine()], cmdclass={"bdist_wheel": Wheel, "build_ext": BuildEngine})
