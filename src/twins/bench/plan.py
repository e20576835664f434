"""What is measured: backends, cases, how long, and the whole set. Needs no PyTorch, so that `--help` is fast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..model_names import MODEL_NAMES

DTYPES = ("fp32", "bf16", "int8")
TITLES = {
    "twins": "twins",
    "frozen": "twins frozen",
    "timm": "timm eager",
    "timm-compiled": "timm compiled",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "exported": "exported file",
}
DATA_SIZES = ((375, 500), (1200, 1600))  # height and width: as most of ImageNet, and as from a camera
DATA_BATCH = 10  # JPEG files
DIGITS = "digits"  # as the network of an accuracy case
PEERS = ("timm", "timm-compiled", "onnxruntime", "openvino")
_DTYPES_OF = {
    "frozen": DTYPES,
    "timm": ("fp32", "bf16"),
    "timm-compiled": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": DTYPES,
}


class Backend(NamedTuple):
    """An engine and the precision that it is asked for."""

    engine: str  # a key of TITLES
    dtype: str = "fp32"

    @property
    def title(self) -> str:
        return f"{TITLES[self.engine]} {self.dtype}"


class Case(NamedTuple):
    """One table: the same workload for several backends."""

    workload: str  # "classifier", "backbone", "training", "memory", "accuracy", "products", "data" or "exported"
    # One of the six, or of classifier: a checkpoint; of data: "training" or "evaluation"; of accuracy: a checkpoint, or
    # "digits"; of products: "matrices"; of exported: the file.
    network: str
    size: tuple[int, int]  # height and width, pixels
    batch: int
    backends: tuple[Backend, ...]

    @property
    def of_checkpoint(self) -> bool:
        """Whether a classifier is a checkpoint's, not a published network with drawn weights."""
        return self.workload == "classifier" and self.network not in MODEL_NAMES

    @property
    def title(self) -> str:
        return f"{self.workload}, {self.network}, {self.size[0]} x {self.size[1]}, batch {self.batch}"


def choose_backends(dtypes: Sequence[str] = DTYPES, against: Sequence[str] = PEERS) -> tuple[Backend, ...]:
    """Ours, then the peers, each in those of the precisions that it supports."""
    engines = ("twins", "frozen", *(peer for peer in PEERS if peer in against))
    pairs = ((engine, dtype) for engine in engines for dtype in dtypes)
    return tuple(Backend(e, dtype) for e, dtype in pairs if dtype in _DTYPES_OF.get(e, ("fp32",)))


def choose_training(against: Sequence[str] = PEERS, amp: bool = False) -> tuple[Backend, ...]:
    """Ours and timm's: both in float32, or both under bfloat16 autocast."""
    dtype = "bf16" if amp else "fp32"
    return tuple(Backend(engine, dtype) for engine in ("twins", "timm") if engine in ("twins", *against))


def choose_quantised(against: Sequence[str] = PEERS) -> tuple[Backend, ...]:
    """Whose accuracy is measured: the plain network, ours in every precision, and the runtimes in those that round."""
    peers = (Backend("openvino", "bf16"), Backend("openvino", "int8"), Backend("onnxruntime", "int8"))
    ours = (Backend("twins"), *(Backend("frozen", dtype) for dtype in DTYPES))
    return (*ours, *(peer for peer in peers if peer.engine in against))


def every_case(
    workload: str,
    networks: Iterable[str],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    backends: tuple[Backend, ...],
) -> list[Case]:
    """Every combination, one network after the other."""
    return [Case(workload, name, size, batch, backends) for name in networks for size in sizes for batch in batches]


def data_cases(sizes: Sequence[tuple[int, int]]) -> list[Case]:
    """What `make bench-data` measures: from files of these sizes to batches, of training and of evaluation."""
    return [Case("data", use, size, DATA_BATCH, ()) for size in sizes for use in ("training", "evaluation")]


def products_case() -> Case:
    """Products of matrices by every instruction set of this CPU: inputs and outputs of the matrix."""
    return Case("products", "matrices", (256, 512), 1, ())


def full_set(against: Sequence[str] = PEERS) -> list[Case]:
    """What `make bench` measures, but for the accuracy, in about half an hour on two cores.

    Compiling takes more than a minute a case, so compiled timm takes part in those of one network only.
    """
    uncompiled = [peer for peer in against if peer != "timm-compiled"]
    square, small, others = [(224, 224)], ["twins_svt_small"], ["twins_svt_base", "twins_pcpvt_small"]
    dense = [(512, 512), (800, 1216)]
    return [
        products_case(),
        *every_case("classifier", small, square, [1, 16], choose_backends(against=against)),
        *every_case("classifier", others, square, [1, 16], choose_backends(against=uncompiled)),
        *every_case("backbone", small, dense, [1], choose_backends(("fp32", "bf16"), uncompiled)),
        *every_case("memory", small, square, [1], choose_backends(against=uncompiled)),
        *every_case("training", small, square, [16], choose_training(against)),
        *every_case("training", small, square, [16], choose_training(against, amp=True)),
    ]
