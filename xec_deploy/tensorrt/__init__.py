"""The TensorRT library, in whichever of its two flavours is installed."""

from xec_deploy.tensorrt.flavour import FLAVOURS, Flavour, installed_flavours, load_flavour
from xec_deploy.tensorrt.parse import Refusal, parse_onnx, refusals

__all__ = [
    "FLAVOURS",
    "Flavour",
    "Refusal",
    "installed_flavours",
    "load_flavour",
    "parse_onnx",
    "refusals",
]
