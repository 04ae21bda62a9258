"""Where int8 pays on a processor that has bfloat16.

A product in int8 reads half the bytes of weights that one in bf16 reads.  That is time gained where
weights are what is read: few rows an event, as in a transformer over six tokens or a head.  In the
blocks over an image a handful of channels multiplies thousands of places, the time goes into
passes over the maps, and quantising them is one more pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from calibration.graph import Graph
from calibration.layers import Layer

__all__ = ["pays"]

EVENTS: Final = 8
"""Events of a batch, as engines run them on a processor."""


def pays(layer: Layer, costs: Mapping[str, int], graph: Graph) -> bool:
    """Return whether a layer's weights outnumber what it reads and writes for a batch.

    Parameters
    ----------
    layer
        Of the graph.
    costs
        Layer (its ``node``) -> multiply-adds an event.
    graph
        With its weights.
    """
    if layer.op == "Conv":
        return False
    shape = list(graph.constants[layer.weight].dims)
    weights = shape[0] * shape[1]
    rows = costs[layer.node] // weights
    return bool(weights > EVENTS * rows * sum(shape))
