"""Train the tiny module in as many processes as the launcher starts; print what it saw."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import run_tiny, tiny_config

from xec_deploy.errors import PartialFailure

torch.set_num_threads(1)
save_dir, options = sys.argv[1], json.loads(sys.argv[2])
training = {"epochs": 2, **options.get("training", {})}
config = tiny_config(
    save_dir,
    distributed=options["distributed"],
    checkpoint=options.get("checkpoint"),
    **training,
)


def disturb(batch, loss):
    """Spoil a loss of the second process, or send it a signal."""
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
        if batch == options.get("stop"):
            os.kill(os.getpid(), signal.SIGTERM)
        if batch == options.get("spoil"):
            return loss * float("nan")
    return loss


try:
    module = run_tiny(config, dropout=options.get("dropout", 0.0), spoil=disturb)
except PartialFailure as stopped:
    print(stopped)  # noqa: T201
    sys.exit(stopped.exit_code)
record = {
    "losses": module.losses,
    "world": module.trainer.world_size,
    "steps": module.trainer.global_step,
    "weights": [parameter.tolist() for parameter in module.model.parameters()],
}
Path(save_dir, f"rank_{module.global_rank}.json").write_text(json.dumps(record))
