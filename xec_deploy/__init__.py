"""Deployment toolkit of the MEG II liquid-xenon detector.

``open_bundle`` and ``infer`` are the two names most users need; everything else lives in the
subpackages.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xec_deploy.bundle import Bundle, open_bundle
    from xec_deploy.inference.infer import infer

__all__ = ["Bundle", "__version__", "infer", "open_bundle"]

__version__ = version("xec-deploy")

_LAZY = {
    "Bundle": "xec_deploy.bundle",
    "infer": "xec_deploy.inference",
    "open_bundle": "xec_deploy.bundle",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `xec-deploy --help` does not wait for engines and file formats.
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
