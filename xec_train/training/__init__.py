"""The trainer that regressor, MAE and inpainter share, on PyTorch Lightning.

Lightning has the loop, devices, precision, processes and loggers.  Here is what it leaves open:
losses and their balance, a learning rate counted in steps, averaged weights, gradients that are
not finite, a place in the data to continue from, whole checkpoints that inference reads, and
stopping on a signal.

To train another model
----------------------
Derive from :class:`TrainingModule` and give it

* a network, which may be wrapped (the regressor's heads are, see
  :mod:`xec_train.regressor.targets`),
* :meth:`~TrainingModule.training_loss`: raw events to the loss and named parts of it.  Masking and
  augmentation belong here, on the device, and draw from torch's generators, which are seeded by
  epoch, batch and rank: then a resumed training draws the same,
* :meth:`~TrainingModule.validate` and :meth:`~TrainingModule.validation_metrics`: collect on each
  process, :meth:`~TrainingModule.gather` over them, return numbers with ``val_loss`` among them,
* :meth:`~TrainingModule.deployable`: the entries of the checkpoint that inference opens,
* :meth:`~TrainingModule.prepare`, if something is measured or loaded before a new training; what
  must survive a resume are parameters or persistent buffers of the module.

Then ``train(kind, config, training_stream(..), validation_stream(..), build)``.
"""

from xec_train.training.checkpoints import CheckpointFiles
from xec_train.training.data import Batches, TrainingData
from xec_train.training.module import TrainingModule
from xec_train.training.resume import Resume, find_resume
from xec_train.training.run import fit, on_gpu, train
from xec_train.training.stop import StopOnSignal
from xec_train.training.streams import first_batches, training_stream, validation_stream

__all__ = [
    "Batches",
    "CheckpointFiles",
    "Resume",
    "StopOnSignal",
    "TrainingData",
    "TrainingModule",
    "find_resume",
    "first_batches",
    "fit",
    "on_gpu",
    "train",
    "training_stream",
    "validation_stream",
]
