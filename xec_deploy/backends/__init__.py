"""Engines that run a bundle's graphs, behind one protocol."""

from xec_deploy.backends.base import DEFAULT_BATCH, Backend, RunOptions
from xec_deploy.backends.registry import AUTO, BACKENDS, create_backend, present_backends

__all__ = [
    "AUTO",
    "BACKENDS",
    "DEFAULT_BATCH",
    "Backend",
    "RunOptions",
    "create_backend",
    "present_backends",
]
