"""Training data: raw events streamed from ROOT files, dead patterns, masks, weights."""

from xec_train.data.augment import lose_channels
from xec_train.data.batch import RawBatch
from xec_train.data.masking import MaskSampler
from xec_train.data.reweight import EventWeights
from xec_train.data.stream import EventStream, StreamState

__all__ = [
    "EventStream",
    "EventWeights",
    "MaskSampler",
    "RawBatch",
    "StreamState",
    "lose_channels",
]
