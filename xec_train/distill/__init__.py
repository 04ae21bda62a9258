"""Distillation: a compact regressor that learns what larger ones say of events without truth.

A teacher says more of an event than its truth does: what can be known of it, without the chance
of that event's photons, and how well.  The result is a regressor like any other.
"""

from xec_train.distill.module import DistillModule
from xec_train.distill.teachers import Teachers
from xec_train.distill.train import train_distilled

__all__ = ["DistillModule", "Teachers", "train_distilled"]
