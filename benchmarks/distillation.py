r"""Students of several widths, taught by truth alone or by a larger network: resolution and speed.

What the architecture sees of an event has no weights, so all students are fitted on the same views,
computed once, in the same order and for as many steps: on the truth of the events, and on what the
teacher says of them.  The teacher has never seen these events.  Resolution comes from test events,
events a second from ONNX Runtime on exported students, which take turns so that all of them meet
the same machine.  ``docs/distillation.md`` holds the figures.

    python benchmarks/distillation.py --teacher runs/compact/checkpoint_best.pth \
        --train 'data/run_*.root' --test data/test.root --output runs/distillation
    python benchmarks/distillation.py --output runs/distillation --speed-only
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.utils import Extractor
from torch import Tensor

from xec_deploy.backends import RunOptions
from xec_deploy.backends.onnxruntime_cpu import OnnxRuntimeBackend
from xec_deploy.bundle import TASK_OUTPUTS, open_bundle
from xec_deploy.export import export_bundle
from xec_deploy.normalisation import normalise_arrays
from xec_train.checkpoint import load_regressor, regressor_entries
from xec_train.checkpoint.save import write_whole
from xec_train.config import DistillConfig, load_config
from xec_train.config.sections import Fiducial
from xec_train.data import EventStream, RawBatch
from xec_train.data.augment import lose_channels
from xec_train.distill import DistillModule, Teachers
from xec_train.distill.lesson import mirror_lessons
from xec_train.evaluation.quantities import residuals_of, width_of
from xec_train.evaluation.ratio import paired_ratio
from xec_train.models import TASK_DIMENSIONS, XecRegressor
from xec_train.models.xec import RANGE
from xec_train.regressor.targets import fold_scales, measure_scales, use_scales
from xec_train.regressor.view_fit import Views, collect_views

WAYS = {"truth": 1.0, "teacher": 0.0}
"""Ways of learning, and the weight of the truth in the loss."""
SHOWN = ("energy", "u", "v", "w", "timing")
UNITS = {"energy": "%", "u": "mm", "v": "mm", "w": "mm", "timing": "ps"}
ROUNDS = 200


class Study:
    """The sample, its views, and what all students have in common."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.config = self.configured(options.widths[0], 0.0)
        self.teachers = Teachers.of_config(self.config)
        data = self.config.data
        stream = EventStream(
            data.train_path, data, self.config.active_tasks, shuffle=True, rank=0, world=1
        )
        self.batches = -(-options.events // data.batch_size)
        self.scales = measure_scales(islice(stream, 20), self.config.tasks)
        self._stream = stream
        self._lessons: list[dict[Any, Tensor]] = []

    def configured(self, width: int, label_weight: float) -> DistillConfig:
        """Return the recipe of a student."""
        options = self.options
        return load_config(
            DistillConfig,
            "distill",
            [
                f"data.train_path={json.dumps(options.train)}",
                f"distillation.teachers={json.dumps(options.teacher)}",
                f"distillation.label_weight={label_weight}",
                f"model.xec.width={width}",
                f"model.xec.depth={options.depth}",
                "model.xec.head_width=128",
                f"training.view_fit.events={options.events}",
                f"training.view_fit.copies={options.copies}",
                f"training.view_fit.epochs={options.epochs}",
            ],
        )

    def module(self, width: int, label_weight: float) -> DistillModule:
        """Return a student, with the scales of the sample."""
        config = self.configured(width, label_weight)
        torch.manual_seed(config.training.seed)
        module = DistillModule(config, self.teachers, lambda _: iter(()))
        module.scales.use(self.scales)
        use_scales(module.model, self.scales, anchored=True)
        return module

    def taught(self) -> Iterator[RawBatch]:
        """Iterate over the sample with lessons, which are computed once."""
        self._stream.epoch = 0
        for number, batch in enumerate(islice(self._stream, self.batches)):
            if number == len(self._lessons):
                self._lessons.append(self.teachers.teach(batch).targets)
            yield RawBatch(batch.npho, batch.time, batch.dead, self._lessons[number])

    def views(self, module: DistillModule) -> Views:
        """Look at the sample, mirrored and with channels lost."""
        options = self.config.training

        def augment(batch: RawBatch) -> RawBatch:
            return lose_channels(
                mirror_lessons(batch, torch.randint(4, (len(batch),))),
                channel_dropout_rate=options.channel_dropout_rate,
                dead_board_probability=options.dead_board_probability,
            )

        torch.manual_seed(options.seed)
        return collect_views(module.model, self.taught, module.normalise, augment, options.view_fit)


def train(options: argparse.Namespace) -> None:
    """Fit the students that are not there yet."""
    wanted = [
        (width, way)
        for width in options.widths
        for way in WAYS
        if not checkpoint_of(options, way, width).exists()
    ]
    if not wanted:
        return
    study = Study(options)
    first = study.module(options.widths[0], 0.0)
    views = study.views(first)
    for width, way in wanted:
        module = study.module(width, WAYS[way])
        model = module.model
        assert isinstance(model, XecRegressor)  # noqa: S101 - the recipe says so
        model.backbone.mean.copy_(first.model.backbone.mean)
        model.backbone.inverse_spread.copy_(first.model.backbone.inverse_spread)
        start = time.process_time()
        module.fit_on(views, model)
        config = module.config
        logarithms = tuple(t for t in config.active_tasks if config.tasks[t].log_transform)
        write_whole(
            checkpoint_of(options, way, width),
            regressor_entries(
                module.network,
                config.layout,
                config.normalization,
                model_state=fold_scales(model),
                log_transform=logarithms,
                training={
                    "recipe": config.model_dump(mode="json"),
                    "teachers": study.teachers.provenance,
                },
            ),
        )
        print(f"{way} {width}: {time.process_time() - start:.0f} s", flush=True)


def checkpoint_of(options: argparse.Namespace, way: str, width: int) -> Path:
    """Return the file of a student."""
    path: Path = options.output / f"{way}_{width}.pth"
    return path


def described(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return way, width and size of all students."""
    return [
        {
            "way": way,
            "width": width,
            "parameters": parameters_of(checkpoint_of(options, way, width)),
            "checkpoint": checkpoint_of(options, way, width).name,
        }
        for width in options.widths
        for way in WAYS
    ]


def parameters_of(path: str | Path) -> int:
    """Return the number of trained numbers in a checkpoint."""
    return sum(p.numel() for p in load_regressor(path).model.parameters())


def residuals(options: argparse.Namespace, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return residuals (n,) of the teacher and of students, by checkpoint and quantity."""
    teachers = {f"teacher {path}": load_regressor(path) for path in options.teacher}
    students = {name: load_regressor(options.output / name) for name in names}
    eye = next(iter(students.values())).model.backbone
    normalisation = next(iter(students.values())).normalisation
    config = load_config(
        DistillConfig,
        "distill",
        [f"data.val_path={json.dumps(options.test)}", "data.batch_size=500"],
    )
    tasks = config.active_tasks
    stream = EventStream(
        config.data.val_path,
        config.data,
        tasks,
        shuffle=False,
        max_events=options.test_events,
        rank=0,
        world=1,
    )
    found: dict[str, list[dict[str, NDArray[np.float32]]]] = {}
    with torch.no_grad():
        for batch in stream:
            found.setdefault("true", []).append(_values(batch.targets, ()))
            raw = batch.npho, batch.time, batch.dead
            for name, teacher in teachers.items():
                x = torch.stack(normalise_arrays(*raw, teacher.normalisation, torch), dim=-1)
                found.setdefault(name, []).append(_values(teacher.model(x), teacher.log_transform))
            x = torch.stack(normalise_arrays(*raw, normalisation, torch), dim=-1)
            standard = eye.standardise(eye.view(x))
            for name, student in students.items():
                model = student.model
                moments = standard[:, : next(iter(model.anchors.values())).in_features]
                features = model.backbone.features(standard.clamp(-RANGE, RANGE))
                outputs = model.join(model.anchor_estimates(moments), features)
                found.setdefault(name, []).append(_values(outputs, student.log_transform))
    joined = {
        name: {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for name, parts in found.items()
    }
    truth = joined.pop("true")
    volume = Fiducial()
    inside = (
        (np.abs(truth["u"]) < volume.u_max)
        & (np.abs(truth["v"]) < volume.v_max)
        & (truth["w"] > volume.w_min)
    )
    truth = {key: values[inside] for key, values in truth.items()}
    return {
        name: residuals_of({key: v[inside] for key, v in values.items()}, truth)
        for name, values in joined.items()
    }


def _values(
    outputs: Mapping[Any, Tensor], logarithms: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Return outputs by the names of their components, in physical units."""
    values = {}
    for task, output in outputs.items():
        physical = output.exp() if task in logarithms else output
        for column, component in enumerate(TASK_OUTPUTS[task][: TASK_DIMENSIONS[task]]):
            values[component.name] = physical[:, column].numpy()
    return values


def evaluate(options: argparse.Namespace, students: list[dict[str, Any]]) -> dict[str, Any]:
    """Add resolutions to the students; return those of the teachers."""
    found = residuals(options, [student["checkpoint"] for student in students])
    by_way = {(s["way"], s["width"]): found[s["checkpoint"]] for s in students}
    for student in students:
        mine = found[student["checkpoint"]]
        student["resolution"] = {name: _width(name, mine[name]) for name in SHOWN}
        if student["way"] == "teacher":
            other = by_way["truth", student["width"]]
            ratios = {name: paired_ratio(mine[name], other[name]) for name in SHOWN}
            student["over_truth"] = {
                name: [round(r.value, 4), round(r.error, 4)] for name, r in ratios.items()
            }
    return {
        Path(name.removeprefix("teacher ")).name: {q: _width(q, values[q]) for q in SHOWN}
        for name, values in found.items()
        if name.startswith("teacher ")
    }


def _width(name: str, values: NDArray[np.float64]) -> list[float]:
    found = width_of(name, values)
    return [round(found.sigma68, 4), round(found.sigma68_error, 4)]


def speed(options: argparse.Namespace, bundles: Sequence[Path]) -> dict[str, Any]:
    """Return events a second of bundles in turn, and of what they see without the network.

    By the clock for each number of threads, and for a second of one core's time (``core``), which
    is the same on a busy machine.
    """
    golden = open_bundle(bundles[0]).golden
    assert golden is not None  # noqa: S101 - it is a bundle
    rows = np.arange(options.batch) % len(golden.npho)
    raw = golden.npho[rows], golden.time[rows], golden.dead[rows]
    rates: dict[str, Any] = {path.name: {} for path in [*bundles]} | {"view": {}}
    with tempfile.TemporaryDirectory() as folder:
        view = Path(folder, "view.onnx")
        model = load_regressor(bundles[0].with_suffix(".pth")).model
        extract_view(open_bundle(bundles[0]).graph(), model.backbone.view.count, view)
        graphs = {path.name: open_bundle(path).graph() for path in bundles} | {"view": view}
        for threads in options.threads:
            run = RunOptions(threads=threads)
            engines = {name: OnnxRuntimeBackend(graph, run) for name, graph in graphs.items()}
            wall: dict[str, list[float]] = {name: [] for name in engines}
            cpu: dict[str, list[float]] = {name: [] for name in engines}
            for attempt in range(options.rounds):
                for name, engine in engines.items():
                    start, began = time.process_time(), time.perf_counter()
                    engine.run(*raw)
                    if attempt:
                        wall[name].append(time.perf_counter() - began)
                        cpu[name].append(time.process_time() - start)
            for name in engines:
                # The fastest: others use this machine too, and only add.
                rates[name][str(threads)] = round(options.batch / min(wall[name]))
                if threads == 1:
                    rates[name]["core"] = round(options.batch / min(cpu[name]))
    return rates


def extract_view(graph: Path, count: int, path: Path) -> None:
    """Write the part of a graph that ends where the first layer of the network begins."""
    model = onnx.load(graph)
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    first = next(
        node
        for node in model.graph.node
        if node.op_type in ("Gemm", "MatMul")
        and any(count in sizes.get(name, ()) and len(sizes[name]) == 2 for name in node.input)
    )
    seen = next(name for name in first.input if name not in sizes)
    inputs = [tensor.name for tensor in model.graph.input]
    inferred = onnx.shape_inference.infer_shapes(model)
    onnx.save(Extractor(inferred).extract_model(inputs, [seen]), path)


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw resolution against events a second of one core."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - not needed to measure

    figure, axes = plt.subplots(
        1, len(SHOWN), figsize=(3.1 * len(SHOWN), 3.3), layout="constrained"
    )
    labels = {"truth": "learns the truth", "teacher": "learns from the teacher"}
    for panel, name in zip(axes, SHOWN, strict=True):
        for way, marker in (("truth", "o"), ("teacher", "s")):
            students = [s for s in results["students"] if s["way"] == way]
            x = [results["events_per_s"][f"teacher_{s['width']}.xec"]["core"] for s in students]
            y, error = np.transpose([s["resolution"][name] for s in students])
            panel.errorbar(x, y, error, marker=marker, ms=5, lw=1, capsize=2, label=labels[way])
            if way == "teacher":
                for student, at, height in zip(students, x, y, strict=True):
                    panel.annotate(
                        str(student["width"]),
                        (at, height),
                        (0, -13),
                        textcoords="offset points",
                        ha="center",
                        fontsize=7,
                    )
        for teacher in results["teachers"].values():
            value, error = teacher[name]
            panel.axhspan(value - error, value + error, color="0.8", label="teacher")
        panel.set(
            title=name, xlabel="events/s of one core", ylabel=rf"$\sigma_{{68}}$ [{UNITS[name]}]"
        )
        panel.margins(x=0.12, y=0.2)
    axes[0].legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run the study, or a part of it, and write what is found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", nargs="+", default=[])
    parser.add_argument("--train", nargs="+", default=["data/run_*.root"])
    parser.add_argument("--test", nargs="+", default=["data/test.root"])
    parser.add_argument("--output", type=Path, required=True, help="folder of checkpoints, bundles")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--test-events", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--speed-only", action="store_true", help="measure speed anew, and plot")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/distillation.json"))
    parser.add_argument("--plot", type=Path, default=Path("docs/images/distillation.png"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if options.speed_only:
        # Only widths count here: how a student learned does not change its speed.
        results = json.loads(options.json.read_text(encoding="utf-8"))
    else:
        train(options)
        students = described(options)
        results = {
            "sample": {name: getattr(options, name) for name in ("events", "copies", "epochs")},
            "depth": options.depth,
            "teacher_parameters": [parameters_of(path) for path in options.teacher],
            "students": students,
            "teachers": evaluate(options, students),
        }
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    widths = sorted({student["width"] for student in results["students"]})
    bundles = [options.output / f"teacher_{width}.xec" for width in widths]
    for bundle in bundles:
        if not bundle.exists():
            export_bundle(bundle.with_suffix(".pth"), bundle)
    results["batch"] = options.batch
    results["machine"] = f"{platform.machine()}, {platform.processor() or platform.system()}"
    results["events_per_s"] = speed(options, bundles)
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(results, options.plot)
    print(json.dumps(results["events_per_s"], indent=1))


if __name__ == "__main__":
    main()
