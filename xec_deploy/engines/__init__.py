"""TensorRT engines: built from a bundle's graphs, described, reused only where they fit."""

from xec_deploy.engines.build import LADDER, Built, Fallback, build_engine
from xec_deploy.engines.describe import describe_engine
from xec_deploy.engines.layers import LayerSummary, summarise_layers
from xec_deploy.engines.manifest import (
    EngineManifest,
    EngineOptions,
    read_engine_manifest,
)
from xec_deploy.engines.verify import Surroundings, verify_engine

__all__ = [
    "LADDER",
    "Built",
    "EngineManifest",
    "EngineOptions",
    "Fallback",
    "LayerSummary",
    "Surroundings",
    "build_engine",
    "describe_engine",
    "read_engine_manifest",
    "summarise_layers",
    "verify_engine",
]
