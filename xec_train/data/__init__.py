"""Training data: raw events streamed from ROOT files."""

from xec_train.data.batch import RawBatch
from xec_train.data.stream import EventStream

__all__ = ["EventStream", "RawBatch"]
