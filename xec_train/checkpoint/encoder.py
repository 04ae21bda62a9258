"""Starting a model from the encoder of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from torch import Tensor

from xec_deploy.detector.layout import LayoutName
from xec_deploy.errors import BundleError
from xec_deploy.normalisation import Normalisation
from xec_train.checkpoint.architecture import architecture
from xec_train.checkpoint.contents import Contents, encoder_part, read
from xec_train.checkpoint.load import load_strictly
from xec_train.models import XECEncoder

__all__ = ["encoder_state", "initialise_encoder"]


def encoder_state(
    path: str | PathLike[str],
    *,
    normalisation: Normalisation,
    layout: LayoutName,
    ignore_normalisation: bool = False,
    ema: bool = True,
) -> dict[str, Tensor]:
    """Return the state dict of the encoder in a checkpoint of any kind.

    Parameters
    ----------
    path
        A regressor, masked autoencoder, inpainter or encoder.
    normalisation, layout
        Of the model that is to start from it.
    ignore_normalisation
        Accept weights trained on inputs that were normalised otherwise, or nobody knows how.
    ema
        Prefer exponentially averaged weights.

    Raises
    ------
    BundleError
        If there is no encoder in the file, or its layout or normalisation differ.
    """
    contents = read(path, ema=ema)
    _check_layout(contents, layout)
    if not ignore_normalisation:
        _check_normalisation(contents, normalisation)
    return encoder_part(contents)


def initialise_encoder(
    encoder: XECEncoder,
    path: str | PathLike[str],
    *,
    normalisation: Normalisation,
    ignore_normalisation: bool = False,
    ema: bool = True,
) -> None:
    """Load the encoder of a checkpoint of any kind into ``encoder``, strictly.

    See :func:`encoder_state`; the layout is that of ``encoder``.

    Raises
    ------
    BundleError
        If layout, normalisation, pooling of the outer face or shapes differ.
    """
    contents = read(path, ema=ema)
    _check_layout(contents, encoder.layout.name)
    if not ignore_normalisation:
        _check_normalisation(contents, normalisation)
    _check_pool(contents, encoder)
    load_strictly(
        encoder,
        encoder_part(contents),
        contents.where,
        into="the encoder to train",
        fix="Give model the encoder_dim, num_fusion_layers and outer_mode of the checkpoint.",
    )


def _check_layout(contents: Contents, layout: LayoutName) -> None:
    trained = contents.stated_layout or "research"
    if trained != layout:
        raise BundleError(
            f"the encoder was trained with layout {trained!r}, not {layout!r}",
            where=contents.where,
            fix=f"Set model.layout to {trained}.",
        )


def _check_pool(contents: Contents, encoder: XECEncoder) -> None:
    stated: Mapping[str, Any] = contents.config or {}
    if "outer_fine_pool" not in stated or "outer_centre" in encoder.tokens:
        return
    trained = tuple(stated["outer_fine_pool"] or ()) or None
    wanted = encoder.outer_fine.pool
    if trained != wanted:
        raise BundleError(
            f"the encoder was trained with outer_fine_pool {trained}, not {wanted}",
            where=contents.where,
            fix="Set model.outer_fine_pool to that of the checkpoint.",
        )


def _check_normalisation(contents: Contents, normalisation: Normalisation) -> None:
    trained = architecture(contents).normalisation
    if trained is None:
        raise BundleError(
            "the file does not state how the encoder's input was normalised",
            where=contents.where,
            fix="If it was as it is here, say that the normalisation is to be ignored.",
        )
    different = list(_differences(trained, normalisation))
    if different:
        raise BundleError(
            f"the encoder was trained on inputs normalised otherwise: {', '.join(different)}",
            where=contents.where,
            fix="Use the normalisation of the checkpoint.",
        )


def _differences(trained: Normalisation, wanted: Normalisation) -> Iterator[str]:
    for key in Normalisation.model_fields:
        unused = key == "npho_scale2" and wanted.npho_scheme == trained.npho_scheme != "log1p"
        left, right = getattr(trained, key), getattr(wanted, key)
        if left != right and not unused:
            yield f"{key} {left} in the file, {right} here"
