"""Model repositories for the Triton inference server."""

from xec_deploy.triton.config import DEFAULTS, Serving, Tensor
from xec_deploy.triton.repository import WrittenModel, write_repository

__all__ = ["DEFAULTS", "Serving", "Tensor", "WrittenModel", "write_repository"]
