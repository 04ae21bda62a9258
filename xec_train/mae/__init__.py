"""Training of the masked autoencoder, for a regressor or an inpainter to start from."""

from xec_train.mae.module import MaeModule
from xec_train.mae.train import train_mae
from xec_train.mae.view_module import XecMaeModule

__all__ = ["MaeModule", "XecMaeModule", "train_mae"]
