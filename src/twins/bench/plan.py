"""What is measured: contenders, cases, and the whole set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

DTYPES = ("fp32", "bf16", "int8")
TITLES = {
    "twins": "twins",
    "frozen": "twins frozen",
    "timm": "timm eager",
    "timm-compiled": "timm compiled",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
DATA_SIZES = ((375, 500), (1200, 1600))  # height and width: as most of ImageNet, and as from a camera
FILES = 10  # photographs in a batch of data
PEERS = ("timm", "timm-compiled", "onnxruntime", "openvino")
_DTYPES_OF = {
    "frozen": DTYPES,
    "timm": ("fp32", "bf16"),
    "timm-compiled": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": DTYPES,
}


class Contender(NamedTuple):
    """An engine and the precision that it is asked for."""

    engine: str  # a key of TITLES
    dtype: str = "fp32"

    @property
    def title(self) -> str:
        return f"{TITLES[self.engine]} {self.dtype}"


class Case(NamedTuple):
    """One table: the same work for several contenders."""

    what: str  # "classifier", "backbone", "training", "memory", "accuracy", "products" or "data"
    network: str  # of data: "training" or "evaluation"; of accuracy: a checkpoint, or "digits"; of products: "matrices"
    size: tuple[int, int]  # height and width, pixels
    batch: int
    contenders: tuple[Contender, ...]

    @property
    def title(self) -> str:
        return f"{self.what}, {self.network}, {self.size[0]} x {self.size[1]}, batch {self.batch}"


def choose_contenders(dtypes: Sequence[str] = DTYPES, against: Sequence[str] = PEERS) -> tuple[Contender, ...]:
    """Ours, then the peers, each in those of the precisions that it knows."""
    engines = ("twins", "frozen", *(peer for peer in PEERS if peer in against))
    pairs = ((engine, dtype) for engine in engines for dtype in dtypes)
    return tuple(Contender(e, dtype) for e, dtype in pairs if dtype in _DTYPES_OF.get(e, ("fp32",)))


def choose_training(against: Sequence[str] = PEERS, amp: bool = False) -> tuple[Contender, ...]:
    """Ours and timm's: both in float32, or both under bfloat16 autocast."""
    dtype = "bf16" if amp else "fp32"
    return tuple(Contender(engine, dtype) for engine in ("twins", "timm") if engine in ("twins", *against))


def choose_quantised(against: Sequence[str] = PEERS) -> tuple[Contender, ...]:
    """Whose accuracy is measured: the plain network, ours in every precision, and the runtimes in those that round."""
    peers = (Contender("openvino", "bf16"), Contender("openvino", "int8"), Contender("onnxruntime", "int8"))
    ours = (Contender("twins"), *(Contender("frozen", dtype) for dtype in DTYPES))
    return (*ours, *(peer for peer in peers if peer.engine in against))


def every_case(
    what: str,
    networks: Iterable[str],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    chosen: tuple[Contender, ...],
) -> list[Case]:
    """Every combination, one network after the other."""
    return [Case(what, name, size, batch, chosen) for name in networks for size in sizes for batch in batches]


def data_cases(sizes: Sequence[tuple[int, int]]) -> list[Case]:
    """What `make bench-data` measures: from files of these sizes to batches, of training and of evaluation."""
    return [Case("data", use, size, FILES, ()) for size in sizes for use in ("training", "evaluation")]


def products_case() -> Case:
    """Products of matrices by every instruction set of this CPU: inputs and outputs of the matrix."""
    return Case("products", "matrices", (256, 512), 1, ())


def full_set(against: Sequence[str] = PEERS) -> list[Case]:
    """What `make bench` measures, but for the accuracy, in about half an hour on two cores.

    Compiling takes more than a minute a case, so timm's compiled form takes part in those of one network only.
    """
    quick = [peer for peer in against if peer != "timm-compiled"]
    square, small, others = [(224, 224)], ["twins_svt_small"], ["twins_svt_base", "twins_pcpvt_small"]
    dense = [(512, 512), (800, 1216)]
    return [
        products_case(),
        *every_case("classifier", small, square, [1, 16], choose_contenders(against=against)),
        *every_case("classifier", others, square, [1, 16], choose_contenders(against=quick)),
        *every_case("backbone", small, dense, [1], choose_contenders(("fp32", "bf16"), quick)),
        *every_case("memory", small, square, [1], choose_contenders(against=quick)),
        *every_case("training", small, square, [16], choose_training(against)),
        *every_case("training", small, square, [16], choose_training(against, amp=True)),
    ]
