"""Physics figures: resolution estimators and the simple conventional estimates."""

from xec_deploy.physics.conventional import (
    ConventionalConstants,
    ConventionalEstimates,
    centroid_angle,
    charge_centroid,
    charge_sum,
    default_constants,
    estimate,
)
from xec_deploy.physics.observables import (
    ChargeObservables,
    charge_observables,
    mean_emission_time,
)
from xec_deploy.physics.resolution import Profile, Resolution, profile, resolution
from xec_deploy.physics.width import ONE_SIGMA, GaussianCore, gaussian_core, smallest_interval

__all__ = [
    "ONE_SIGMA",
    "ChargeObservables",
    "ConventionalConstants",
    "ConventionalEstimates",
    "GaussianCore",
    "Profile",
    "Resolution",
    "centroid_angle",
    "charge_centroid",
    "charge_observables",
    "charge_sum",
    "default_constants",
    "estimate",
    "gaussian_core",
    "mean_emission_time",
    "profile",
    "resolution",
    "smallest_interval",
]
