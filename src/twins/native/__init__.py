"""The CPU engine: a trained network, packed once, computed by native code. `freeze` is the way in."""

from .frozen import Frozen, freeze
from .library import instruction_set, instruction_sets
from .packing import DTYPES
from .product_speed import matmul_speed, matmul_speeds

__all__ = ["DTYPES", "Frozen", "freeze", "instruction_set", "instruction_sets", "matmul_speed", "matmul_speeds"]
