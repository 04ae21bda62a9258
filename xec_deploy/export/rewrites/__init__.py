"""Equivalent forms of a network that engines run faster.

Every rewrite is a function that exchanges submodules and computes the same numbers up to rounding;
they build on each other in the order of :data:`REWRITES`.  What each gains is in ``docs/speed.md``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from torch import nn

from xec_deploy.export.rewrites.blocks import fold_blocks
from xec_deploy.export.rewrites.hexagons import average_before_last_product
from xec_deploy.export.rewrites.images import channels_last
from xec_deploy.export.rewrites.outer import pool_tubes
from xec_deploy.export.rewrites.resize import resize_before_last_product

__all__ = ["REWRITES", "Rewrite", "rewrite"]

Rewrite = Callable[[nn.Module], nn.Module]

REWRITES: Final[Mapping[str, Rewrite]] = MappingProxyType(
    {
        "folded blocks": fold_blocks,
        "channels last": channels_last,
        "early resize": resize_before_last_product,
        "early mean": average_before_last_product,
        "pooled tubes": pool_tubes,
    }
)
"""All rewrites by name, in order; each may rely on those before it."""


def rewrite(module: nn.Module) -> nn.Module:
    """Return a copy of an inference module (regressor, inpainter, encoder) in its fastest form.

    The module itself stays as it is: references come from it.  In float64 the two agree to
    rounding, about 1e-12.
    """
    module = copy.deepcopy(module)
    for step in REWRITES.values():
        module = step(module)
    return module.eval()
