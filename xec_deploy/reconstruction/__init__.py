"""The conventional reconstruction, which runs in C++: its constants and their calibration."""

from xec_deploy.reconstruction.constants import (
    FaceCorrection,
    ReconstructionConstants,
    default_constants,
)

__all__ = ["FaceCorrection", "ReconstructionConstants", "default_constants"]
