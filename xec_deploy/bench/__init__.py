"""How fast a bundle runs here, where the time goes, and how far from the possible that is."""

from xec_deploy.bench.results import BenchReport, Measurement, OpClass
from xec_deploy.bench.run import run_benchmark

__all__ = ["BenchReport", "Measurement", "OpClass", "run_benchmark"]
