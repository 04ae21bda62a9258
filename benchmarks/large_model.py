"""A large regressor whose outputs mean something, made in minutes on a CPU.

The encoder of the research architecture (D = 1024, 35.6 M parameters with all heads) keeps its
random weights, with GRN switched on; only the heads are trained, on the encoder's features of
simulated events.  A random encoder keeps enough of the image for heads to find energy and position,
so that differences between precisions can be given in resolutions of the detector.

    python benchmarks/large_model.py --data data/train_000.root -o large.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xec_deploy.detector.layout import get_layout
from xec_deploy.events import open_events
from xec_deploy.normalisation import Normalisation, normalise_arrays
from xec_train.checkpoint.save import save_regressor
from xec_train.models import ModelConfig, XECMultiHeadModel

NORMALISATION = Normalisation(
    npho_scheme="sqrt",
    npho_scale=20000.0,
    npho_scale2=1.0,
    time_scale=1.14e-7,
    time_shift=-0.46,
    sentinel_npho=-1.0,
    sentinel_time=-1.0,
    npho_threshold=100.0,
)
TRUTH = {"angle": "emiAng", "energy": "energyTruth", "timing": "timeTruth", "uvwFI": "uvwTruth"}
# Errors that count as one, as in the recipe of this size.
SCALE = {"angle": 0.3, "energy": 0.001, "timing": 0.065, "uvwFI": 0.3}
GRN_SPREAD = 0.3
"""Of gamma, which is zero at the start of a training and of this order at its end."""
BATCH = 32


def random_model(seed: int) -> XECMultiHeadModel:
    """Return the network with random weights and an active GRN."""
    torch.manual_seed(seed)
    config = ModelConfig(encoder_dim=1024, outer_fine_pool=(3, 3))
    model = XECMultiHeadModel(config, get_layout("physical"), NORMALISATION).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("grn.gamma"):
                parameter.normal_(0, GRN_SPREAD)
    return model


@torch.no_grad()
def features(model: XECMultiHeadModel, path: str, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the flattened tokens (events, 6144) and the truth of the first events of a file."""
    parts, truth = [], []
    with open_events(path, keep=list(TRUTH.values())) as file:
        for batch in file.batches(BATCH, stop=count):
            arrays = (torch.from_numpy(a) for a in (batch.npho, batch.time, batch.dead))
            channels = normalise_arrays(*arrays, NORMALISATION, torch)
            parts.append(model.backbone(torch.stack(channels, dim=-1)).flatten(1))
            truth.append(batch.extra)
    wanted = {
        task: torch.from_numpy(np.concatenate([part[branch] for part in truth])).float()
        for task, branch in TRUTH.items()
    }
    return torch.cat(parts), {k: v.reshape(len(v), -1) for k, v in wanted.items()}


def train_head(head: nn.Sequential, x: Tensor, y: Tensor, scale: float, epochs: int) -> None:
    """Fit one head with its dropout; errors count in units of ``scale``."""
    head.train()
    final = head[-1]
    with torch.no_grad():
        final.bias.copy_(y.mean(0))
        final.weight.mul_(float(y.std(0).mean()))
    optimiser = torch.optim.AdamW(
        [
            {"params": list(head[:-1].parameters()), "lr": 3e-4},
            {"params": list(final.parameters()), "lr": 3e-4 * float(y.std(0).mean())},
        ],
        weight_decay=0.01,
    )
    steps = epochs * (len(x) // 256)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        rows = torch.randint(0, len(x), (256,), generator=torch.Generator().manual_seed(step))
        loss = (((head(x[rows]) - y[rows]) / scale) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    head.eval()


def main() -> None:
    """Make the model and write its checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.backends.mha.set_fastpath_enabled(False)
    model = random_model(options.seed)
    x, truth = features(model, options.data, options.events)
    held = slice(-len(x) // 10, None)
    for task, y in truth.items():
        head = model.heads[task]
        train_head(head, x[: held.start], y[: held.start], SCALE[task], options.epochs)
        with torch.no_grad():
            rms = (head(x[held]) - y[held]).pow(2).mean(0).sqrt()
        print(f"{task}: rms {rms.tolist()}, spread {y[held].std(0).tolist()}", flush=True)
    save_regressor(options.output, model, normalisation=NORMALISATION)


if __name__ == "__main__":
    main()
