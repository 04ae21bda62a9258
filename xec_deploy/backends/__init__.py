"""Engines that run a bundle's graphs, behind one protocol."""

from xec_deploy.backends.base import Backend, RunOptions
from xec_deploy.backends.registry import AUTO, BACKENDS, create_backend

__all__ = ["AUTO", "BACKENDS", "Backend", "RunOptions", "create_backend"]
