"""Deployment toolkit of the MEG II liquid-xenon detector."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("xec-deploy")
