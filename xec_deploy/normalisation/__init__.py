"""Normalisation of raw sensor values, defined once for trainer, graphs and C++."""

from xec_deploy.normalisation.definition import (
    Normalisation,
    NphoScheme,
    channel_validity,
    normalise_arrays,
)

__all__ = ["Normalisation", "NphoScheme", "channel_validity", "normalise_arrays"]
