"""Train the tiny module in several processes, one training after another; write what each saw.

``ddp_script.py FILE`` takes a list of trainings, ``{"save_dir": .., "fork": ..}`` and more.  With
``fork`` it starts that many processes itself, which have everything imported; without it the
trainings run as this process, one of those that a launcher has started.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import run_tiny, tiny_config
from lightning_utilities.core.rank_zero import rank_zero_only

from xec_deploy.errors import PartialFailure


def train(options):
    """Run one training in this process; return the exit code."""

    def disturb(batch, loss):
        if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            if batch == options.get("stop"):
                os.kill(os.getpid(), signal.SIGTERM)
            if batch == options.get("spoil"):
                return loss * float("nan")
        return loss

    config = tiny_config(
        options["save_dir"],
        distributed=options["distributed"],
        checkpoint=options.get("checkpoint"),
        **{"epochs": 2, **options.get("training", {})},
    )
    try:
        module = run_tiny(config, dropout=options.get("dropout", 0.0), spoil=disturb)
    except PartialFailure as stopped:
        return int(stopped.exit_code)
    record = {
        "losses": module.losses,
        "world": module.trainer.world_size,
        "steps": module.trainer.global_step,
        "weights": [parameter.tolist() for parameter in module.model.parameters()],
    }
    Path(options["save_dir"], f"rank_{module.global_rank}.json").write_text(json.dumps(record))
    return 0


def fork(options):
    """Run one training in forked processes; return their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(options["fork"]):
        child = os.fork()
        if child == 0:
            os.environ.update(
                LOCAL_RANK=str(rank),
                NODE_RANK="0",
                WORLD_SIZE=str(options["fork"]),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port),
            )
            rank_zero_only.rank = rank
            code = 1
            try:
                code = train(options)
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


torch.set_num_threads(1)
for training in json.loads(Path(sys.argv[1]).read_text()):
    expected = training.get("code", 0)
    codes = fork(training) if "fork" in training else [train(training)]
    if any(code != expected for code in codes):
        sys.exit(f"{training} ended with {codes}")
