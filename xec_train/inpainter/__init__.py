"""Training the inpainter: sensors are hidden as dead ones are, and predicted from the others."""

from xec_train.inpainter.module import InpainterModule
from xec_train.inpainter.train import train_inpainter

__all__ = ["InpainterModule", "train_inpainter"]
