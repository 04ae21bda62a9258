"""ONNX operators as functions of torch tensors: one function an operator.

Semantics are those of the operator's page in the ONNX documentation (opset 20), as far as the
graphs of this package need them; what a function does not know it refuses.
"""

from typing import Final

from xec_deploy.backends.torch_ops.elementwise import ELEMENTWISE
from xec_deploy.backends.torch_ops.kinds import Attributes, Operator, OpError
from xec_deploy.backends.torch_ops.layers import LAYERS
from xec_deploy.backends.torch_ops.placement import placed
from xec_deploy.backends.torch_ops.reductions import REDUCTIONS
from xec_deploy.backends.torch_ops.shapes import SHAPES

__all__ = ["OPERATORS", "Attributes", "OpError", "Operator", "placed"]

OPERATORS: Final[dict[str, Operator]] = {**ELEMENTWISE, **REDUCTIONS, **LAYERS, **SHAPES}
"""Functions by name of the operator: attributes and inputs in, an output or several out."""
