import os
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__version__: str

class Geometry:
    def __init__(
        self,
        position: NDArray[np.float64],
        normal: NDArray[np.float64],
        face: NDArray[np.int8],
    ) -> None: ...

class Normalisation:
    def __init__(
        self,
        *,
        npho_scheme: str,
        npho_scale: float,
        npho_scale2: float,
        time_scale: float,
        time_shift: float,
        sentinel_npho: float,
        sentinel_time: float,
        npho_threshold: float,
    ) -> None: ...

def solid_angle(
    geometry: Geometry, points: NDArray[np.float64], threads: int
) -> NDArray[np.float64]: ...
def normalise(
    normalisation: Normalisation,
    npho: NDArray[np.floating],
    time: NDArray[np.floating],
    dead: NDArray[np.bool_] | None,
    threads: int,
) -> NDArray[np.float32]: ...
def uvw_to_xyz(uvw: NDArray[np.float64]) -> NDArray[np.float64]: ...
def xyz_to_uvw(xyz: NDArray[np.float64]) -> NDArray[np.float64]: ...

class PositionFitter:
    def __init__(self, geometry: Geometry) -> None: ...

def fit_positions(
    fitter: PositionFitter,
    npho: NDArray[np.floating],
    dead: NDArray[np.bool_] | None,
    start: NDArray[np.float64] | None,
    threads: int,
) -> _FitArrays: ...

class DeadRecovery:
    def __init__(self, geometry: Geometry) -> None: ...

def predict_dead(
    recovery: DeadRecovery,
    npho: NDArray[np.floating],
    dead: NDArray[np.bool_] | None,
    points: NDArray[np.float64] | None,
    method: str,
    threads: int,
) -> NDArray[np.float64]: ...
def parity_gate(precision: str) -> float: ...

class Model:
    def __init__(
        self,
        path: os.PathLike[str],
        *,
        precision: str,
        threads: int,
        batch: int,
        runtime: str,
    ) -> None: ...
    def run(
        self,
        npho: NDArray[np.float32],
        time: NDArray[np.float32],
        dead: NDArray[np.bool_] | None,
    ) -> dict[str, NDArray[np.float32]]: ...
    def evaluate(
        self,
        npho: NDArray[np.float32],
        time: NDArray[np.float32],
        dead: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint32]]: ...
    def inpaint(
        self, npho: NDArray[np.float32], time: NDArray[np.float32], dead: NDArray[np.bool_]
    ) -> NDArray[np.float32]: ...
    @property
    def quantities(self) -> list[tuple[str, str]]: ...
    @property
    def inpaints(self) -> bool: ...
    @property
    def runtime(self) -> str: ...
    @property
    def name(self) -> str: ...

class Reconstruction:
    def __init__(
        self,
        geometry: Geometry,
        *,
        sensor_weight: Sequence[float],
        face_weight: Sequence[float],
        face_correction: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float]]],
        shallow_below: float,
        shallow: Sequence[float],
        recovery: str,
        u: Sequence[float],
        v: Sequence[float],
        w: Sequence[float],
        w_light: Sequence[float],
        w_range: Sequence[float],
        time: Sequence[float],
        time_light: float,
    ) -> None: ...

_FitArrays: TypeAlias = tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int32],
    NDArray[np.float64],
    NDArray[np.int8],
]

def reconstruct(
    reconstruction: Reconstruction,
    npho: NDArray[np.floating],
    time: NDArray[np.floating],
    dead: NDArray[np.bool_] | None,
    start: NDArray[np.float64] | None,
    threads: int,
) -> tuple[
    _FitArrays,
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
]: ...
