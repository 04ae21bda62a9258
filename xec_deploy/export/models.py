"""The graphs of a bundle: the whole, and its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose
from torch import Tensor, nn

from xec_deploy.bundle.compose import join, keep_outputs
from xec_deploy.bundle.legacy import normalisation_graph
from xec_deploy.bundle.manifest import FILLED_OUTPUT, LEGACY_OUTPUT, Manifest, PartName
from xec_deploy.export.graph import (
    DeployedEncoder,
    DeployedInpainter,
    DeployedRegressor,
    Network,
)
from xec_deploy.export.rewrites import rewrite
from xec_deploy.export.to_onnx import to_onnx, write_onnx
from xec_deploy.inpaint.filler import FILLED

__all__ = ["Deployed", "write_graphs"]

Files = dict[str, Path]
PREFIX = "inpaint/"
"""Precedes the names of an inpainter's values ahead of a regressor's."""


class Deployed(nn.Module):
    """A network, with an inpainter ahead of it where there is one, as torch runs it.

    Parameters
    ----------
    manifest
        What it is.
    network
        Takes raw events.
    filler
        The inpainter ahead of it.
    """

    def __init__(
        self,
        manifest: Manifest,
        network: DeployedRegressor | DeployedInpainter | DeployedEncoder,
        filler: DeployedInpainter | None = None,
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.network = network
        self.filler = filler
        self.eval()

    def forward(self, npho: Tensor, time: Tensor, dead: Tensor) -> tuple[Tensor, ...]:
        """Turn raw events (batch, 4760) into the outputs of the manifest, in order."""
        if self.filler is not None:
            npho, time, dead = self.filler(npho, time, dead)
        outputs: tuple[Tensor, ...] = self.network(npho, time, dead)
        return outputs[: len(self.manifest.output_names)]

    @property
    def unfilled(self) -> NDArray[np.bool_] | None:
        """(4760,) sensors that an inpainter passes on as they are; None for other networks."""
        if not isinstance(self.network, DeployedInpainter):
            return None
        return ~self.network.model.predicted.numpy()


def write_graphs(
    deployed: Deployed, folder: Path, *, parts: bool = False
) -> tuple[dict[str, Path], dict[PartName, Path]]:
    """Export a deployed network in its fastest form.

    Parameters
    ----------
    deployed
        What to export; it stays as it is.
    folder
        Where the files go.
    parts
        Whether a regressor's normalisation and network are written as well.

    Returns
    -------
    graphs, parts
        Precision -> file, and part -> file.
    """
    manifest = deployed.manifest
    network = rewrite(deployed.network)
    kept: dict[PartName, Path] = {}
    whole = folder / "fp32.onnx"
    if isinstance(network, DeployedRegressor) and (parts or manifest.io == "legacy"):
        tasks = [LEGACY_OUTPUT + task for task in manifest.tasks]
        plain = to_onnx(Network(network).eval(), tasks, normalised=True)
        if manifest.io == "legacy":
            write_onnx(plain, manifest, whole)
            return {"fp32": whole}, kept
        _write_part(kept, "network", plain, manifest, folder)
        before = normalisation_graph(manifest.normalisation)
        _write_part(kept, "normalisation", before, manifest, folder)
    if isinstance(network, DeployedInpainter):
        write_onnx(_only_npho(to_onnx(network, list(FILLED.values()))), manifest, whole)
        return {"fp32": whole}, kept
    graph = to_onnx(network, manifest.output_names)
    if deployed.filler is not None:
        filler = to_onnx(rewrite(deployed.filler), list(FILLED.values()))
        _write_part(kept, "inpainter", _only_npho(filler), manifest, folder)
        _write_part(kept, "regressor", graph, manifest, folder)
        named = compose.add_prefix(filler, PREFIX, rename_inputs=False)
        # Joined rather than exported as one: the regressor's nodes are those of the regressor
        # alone, so that whole events give the same bits.
        graph = join(named, graph, {name: PREFIX + value for name, value in FILLED.items()})
    write_onnx(graph, manifest, whole)
    return {"fp32": whole}, kept


def _only_npho(filler: onnx.ModelProto) -> onnx.ModelProto:
    return keep_outputs(filler, {FILLED["npho"]: FILLED_OUTPUT})


def _write_part(
    kept: dict[PartName, Path],
    name: PartName,
    graph: onnx.ModelProto,
    manifest: Manifest,
    folder: Path,
) -> None:
    kept[name] = folder / f"{name}.onnx"
    write_onnx(graph, manifest.of_part(name), kept[name])
