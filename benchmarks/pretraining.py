"""Error against number of labelled events, from scratch and pretrained, for arch xec.

Takes an encoder that ``xec-train mae`` pretrained on other events, without truth, and fits
regressors on more and more labelled events, with what ``xec-train regressor`` does before its
training on raw events (``training.view_fit``).  For each size, on validation events: the number of
epochs and the dropout, and the learning rate of pretrained layers; as many choices for either, and
for either no corrections at all, anchors only.  The chosen
ones are fitted on several disjoint samples of that size and compared on test events.

    xec-train mae --config mae_xec --train-path 'data/train_01*.root' --val-path data/val.root
        --set training.view_fit.events=40000 --set data.train_events=2560
    python benchmarks/pretraining.py --pretrained runs/mae_xec/mae_checkpoint_best.pth
        --train 'data/train_00*.root' --val data/val.root --test data/test.root
        [--sizes 300 1000 3000 10000 30000] --json benchmarks/results/pretraining.json
        --image docs/images/pretraining.png
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from xec_train.config import RegressorConfig, load_config
from xec_train.data import EventStream, RawBatch
from xec_train.data.augment import lose_channels
from xec_train.data.mirror import random_mirror
from xec_train.evaluation.quantities import width_of
from xec_train.models import XecRegressor
from xec_train.models.xec import N_MOMENTS
from xec_train.regressor import RegressorModule
from xec_train.regressor.start import starting_weights
from xec_train.regressor.targets import learned_target, measure_scales, unfold_scales, use_scales
from xec_train.regressor.view_fit import Views, collect_views
from xec_train.training.losses import event_loss

COPIES = 2
SAMPLES = {300: 5, 1000: 4, 3000: 3}
"""Disjoint samples of each size; of larger ones two orders of the same events."""
TUNED_UP_TO = 3000
"""Larger sizes take the choice of this one."""
ANCHORS: dict[str, Any] = {"epochs": 0}
SCRATCH = [ANCHORS, *({"epochs": e, "dropout": d} for d in (0.2, 0.5) for e in (2, 5, 10))]
PRETRAINED = [
    ANCHORS,
    *({"epochs": e, "encoder_lr": 1.0, "dropout": d} for d in (0.2, 0.5) for e in (3, 8)),
    *({"epochs": 8, "encoder_lr": s, "dropout": d} for s, d in ((0.1, 0.2), (0.1, 0.5))),
]
QUANTITIES = {
    "energy": ("energy", 0, 100.0, "%"),
    "u": ("uvwFI", 0, 10.0, "mm"),
    "v": ("uvwFI", 1, 10.0, "mm"),
    "w": ("uvwFI", 2, 10.0, "mm"),
    "timing": ("timing", 0, 1000.0, "ps"),
}


def stream(config: RegressorConfig, paths: list[str], events: int, *, shuffle: bool) -> EventStream:
    """Return labelled events, always the same."""
    return EventStream(
        paths,
        config.data,
        config.active_tasks,
        shuffle=shuffle,
        seed=1,
        max_events=events,
        rank=0,
        world=1,
    )


def configuration(paths: list[str], choice: dict[str, Any], seed: int) -> RegressorConfig:
    """Return recipe compact with one choice."""
    sets = {
        "training.view_fit.epochs": choice["epochs"],
        "training.view_fit.copies": COPIES,
        "training.encoder_lr": choice.get("encoder_lr", 1.0),
        "model.xec.dropout": choice.get("dropout", 0.0),
        "training.seed": seed,
        "data.memory_mb": 1000,
    }
    config = load_config(RegressorConfig, "compact", [f"{k}={v}" for k, v in sets.items()])
    data = config.data.model_copy(update={"train_path": tuple(paths)})
    return config.model_copy(update={"data": data})


def evaluation_views(model: XecRegressor, module: RegressorModule, batches: Any) -> Views:
    """Look at events as they are."""
    moments, limited = [], []
    targets: dict[Any, list[Tensor]] = {}
    with torch.no_grad():
        for batch in batches:
            seen = model.backbone.standardise(model.backbone.view(module.normalise(batch)))
            moments.append(seen[:, :N_MOMENTS])
            limited.append(seen.clamp(-6.0, 6.0).half())
            for task, target in batch.targets.items():
                targets.setdefault(task, []).append(target)
    joined = {task: torch.cat(parts) for task, parts in targets.items()}
    return Views(torch.cat(moments), torch.cat(limited), joined, None)


def rows_of(views: Views, events: int, first: int, size: int) -> Views:
    """Return some events of views, with all their copies."""
    one = (first + torch.arange(size)) % events
    rows = torch.cat([one + copy * events for copy in range(COPIES)])
    targets = {task: target[rows] for task, target in views.targets.items()}
    return Views(views.moments[rows], views.limited[rows], targets, None)


def augmented(config: RegressorConfig) -> Callable[[RawBatch], RawBatch]:
    """Return what mirrors events and loses channels as in the training."""
    options = config.training

    def augment(batch: RawBatch) -> RawBatch:
        return lose_channels(
            random_mirror(batch),
            channel_dropout_rate=options.channel_dropout_rate,
            dead_board_probability=options.dead_board_probability,
        )

    return augment


class Study:
    """Views of everything, and fits on part of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.train = list(options.train)
        config = configuration(self.train, ANCHORS, 1)
        self.start = starting_weights(config, options.pretrained)
        self.largest = max(options.sizes) // config.data.batch_size * config.data.batch_size
        module = self.module(config, pretrained=True)
        model = module.model
        fit = config.training.view_fit.model_copy(update={"events": self.largest})
        torch.manual_seed(1)

        def batches() -> Iterator[RawBatch]:
            yield from stream(config, self.train, self.largest, shuffle=True)

        self.views = collect_views(
            model, batches, module.normalise, augmented(config), fit, standardised=True
        )
        self.evaluated = {
            name: evaluation_views(model, module, stream(config, [path], events, shuffle=False))
            for name, path, events in (
                ("validation", options.val, 4000),
                ("test", options.test, options.test_events),
            )
        }

    def module(self, config: RegressorConfig, *, pretrained: bool) -> RegressorModule:
        """Return a regressor to fit; views are standardised alike, pretrained or not."""
        torch.manual_seed(config.training.seed)
        module = RegressorModule(config, lambda _: (), self.start if pretrained else None)
        state = dict(self.start.state)
        if not pretrained:
            state = {name: state[name] for name in ("backbone.mean", "backbone.inverse_spread")}
        module.model.load_state_dict(
            {**module.model.state_dict(), **unfold_scales(module.model, state)}
        )
        return module

    def fit(
        self, size: int, choice: dict[str, Any], sample: int, *, pretrained: bool
    ) -> tuple[RegressorModule, float]:
        """Fit on a sample; return the module and the loss on validation events."""
        module = self.module(configuration(self.train, choice, sample + 1), pretrained=pretrained)
        size = min(size, self.largest)
        views = rows_of(self.views, self.largest, sample * size, size)
        batch = RawBatch(views.moments, views.moments, views.moments > 0, views.targets)
        scales = measure_scales([batch], module.config.tasks)
        module.scales.use(scales)
        use_scales(module.model, scales, anchored=True)
        module.fit_on(views, module.model)
        return module, self.loss(module, "validation")

    def outputs(self, module: RegressorModule, name: str) -> dict[Any, Tensor]:
        """Return predictions of evaluation events."""
        views = self.evaluated[name]
        model = module.model.eval()
        with torch.no_grad():
            features = model.backbone.features(views.limited.float())
            return model.join(model.anchor_estimates(views.moments), features)

    def loss(self, module: RegressorModule, name: str) -> float:
        """Return the loss that training minimises."""
        targets = self.evaluated[name].targets
        with torch.no_grad():
            outputs = self.outputs(module, name)
            return sum(
                options.weight
                * float(
                    event_loss(
                        options.loss_fn,
                        outputs[task],
                        learned_target(targets[task], options),
                        scale=module.scales[task].loss,
                        beta=options.loss_beta,
                    ).mean()
                )
                for task, options in module.config.tasks.items()
            )

    def figures(self, module: RegressorModule) -> dict[str, float]:
        """Return the loss and the resolutions on test events, of 15 to 60 MeV."""
        outputs, truth = self.outputs(module, "test"), self.evaluated["test"].targets
        found = {"loss": self.loss(module, "test")}
        for name, (task, component, factor, _) in QUANTITIES.items():
            prediction, target = outputs[task][:, component], truth[task][:, component]
            relative = task == "energy"
            residual = prediction.exp() / target - 1.0 if relative else prediction - target
            width = width_of(name, factor * residual.double().numpy(), replicas=20)
            found[name] = float(width.sigma68)
        return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Tune, fit and compare; return everything measured."""
    begin = time.process_time()
    study = Study(options)
    print(f"views after {time.process_time() - begin:.0f} s", flush=True)
    result: dict[str, Any] = {}
    sizes: list[dict[str, Any]] = []
    chosen: dict[str, dict[str, Any]] = {}
    for size in options.sizes:
        entry: dict[str, Any] = {"events": min(size, study.largest)}
        for name, choices in (("scratch", SCRATCH), ("pretrained", PRETRAINED)):
            pretrained = name == "pretrained"
            if size <= TUNED_UP_TO or name not in chosen:
                tried = [study.fit(size, c, 0, pretrained=pretrained)[1] for c in choices]
                chosen[name] = choices[int(np.argmin(tried))]
                entry[f"{name}_tried"] = tried
            samples = range(SAMPLES.get(size, 2))
            fits = [
                study.figures(study.fit(size, chosen[name], s, pretrained=pretrained)[0])
                for s in samples
            ]
            entry[name] = {"choice": chosen[name], "samples": fits}
            losses = ", ".join(f"{each['loss']:.4f}" for each in fits)
            print(f"{size} {name} {chosen[name]}: {losses}", flush=True)
        sizes.append(entry)
        # After every size: the largest take longest.
        result = {
            "sizes": sizes,
            "choices": {"scratch": SCRATCH, "pretrained": PRETRAINED},
            "unlabelled_events": options.unlabelled,
            "test_events": len(study.evaluated["test"]),
            "cpu_s": time.process_time() - begin,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def mean_and_error(entry: dict[str, Any], name: str, quantity: str) -> tuple[float, float]:
    """Return the mean over the samples of a size, and its standard error."""
    values = np.array([each[quantity] for each in entry[name]["samples"]])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def table(result: dict[str, Any]) -> str:
    """Lay out the means over the samples, with standard errors."""
    names = ["loss", *QUANTITIES]
    units = {name: f" [{unit}]" for name, (*_, unit) in QUANTITIES.items()}
    head = ["events", "start", *(f"{name}{units.get(name, '')}" for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for entry in result["sizes"]:
        for start in ("scratch", "pretrained"):
            cells = [str(entry["events"]), start]
            for name in names:
                mean, error = mean_and_error(entry, start, name)
                digits = 3 if name == "loss" else 1 if name == "timing" else 2
                cells.append(f"{mean:.{digits}f} ± {error:.{digits}f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw loss and resolutions against the number of labelled events."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, name in zip(axes, ["loss", *QUANTITIES], strict=True):
        for start, marker in (("scratch", "o"), ("pretrained", "s")):
            points = [
                (entry["events"], *mean_and_error(entry, start, name)) for entry in result["sizes"]
            ]
            events, mean, error = zip(*points, strict=True)
            axis.errorbar(events, mean, error, marker=marker, capsize=3, label=start)
        axis.set_xscale("log")
        axis.set_xlabel("labelled events")
        unit = f" [{QUANTITIES[name][3]}]" if name in QUANTITIES else ""
        axis.set_title(f"{name}{unit}")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", required=True)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--val", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--unlabelled", type=int, help="events of the pretraining, to record")
    parser.add_argument("--test-events", type=int, default=10_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000, 3000, 10_000, 30_000])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = run(options)
    draw(result, options.image)
    print(table(result))


if __name__ == "__main__":
    main()
