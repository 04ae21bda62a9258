"""Which benchmarks there are, and how one command runs them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOGUE", "Benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes
    ----------
    title, about
        What it measures.
    page
        Page under ``docs`` that goes into it.
    program
        The words after ``python``; ``{json}`` is where the result goes, ``{bundle}`` the bundle of
        the large network (in a quick run the shipped one), ``{data}`` a file of simulated events,
        ``{scratch}`` a folder.  Several programs are run one after the other.
    quick
        Words added in a quick run, to the last program; None if it has none.
    full
        Words added in a full one.
    needs
        What must be made by hand first: then no run of all benchmarks has it.
    """

    title: str
    about: str
    page: str
    program: tuple[str, ...]
    quick: str | None = ""
    full: str = ""
    needs: str = ""


CATALOGUE: dict[str, Benchmark] = {
    "against_plain": Benchmark(
        "From file to file beside the plain path",
        "`infer` and a plain export that is read, run and appended, in turns; large network.",
        "speed.md",
        (
            (
                "benchmarks/against_plain.py {checkpoint} --data {data} --folder {scratch} "
                "--json {json}"
            ),
        ),
        quick=None,
    ),
    "export_speed": Benchmark(
        "Exported networks, rewrite by rewrite",
        "Events/s of a regressor of 35.6 million weights; in brackets the share of the rate at "
        "which the machine multiplies matrices, and times the plain path in onnxruntime.",
        "speed.md",
        (
            "benchmarks/export_speed.py graphs -g {scratch}/graphs",
            "benchmarks/export_speed.py measure -g {scratch}/graphs -o {json}",
        ),
        quick=None,
    ),
    "bench": Benchmark(
        "Engines and precisions of bundles",
        "`xec-deploy bench`: the fastest batch, sessions and threads of each.",
        "backends.md",
        (),
        needs="`xec-deploy bench BUNDLE --json` for each bundle and precision",
    ),
    "end_to_end": Benchmark(
        "Share of reading and writing",
        "Engine alone, the other stages alone, and the whole, in one process.",
        "inference.md",
        ("benchmarks/end_to_end.py {bundle} --json {json}",),
        quick="--events 2000 --rounds 1",
        full="--events 640",
    ),
    "reading": Benchmark(
        "Reading",
        "Batches of native arrays beside a `GetEntry` loop compiled by ROOT, on the same files.",
        "inference.md",
        ("benchmarks/reading.py --json {json}",),
        quick="--events 1000 --rounds 1",
    ),
    "scaling": Benchmark(
        "Two processes",
        "Four files, in turns, on one and two threads and processes. Efficiency is the rate over "
        "that of one thread and the number of threads or processes.",
        "cluster.md",
        ("benchmarks/scaling.py --json {json}",),
        quick="--events 800 --rounds 1",
        full="--events 12000",
    ),
    "scaling_large": Benchmark(
        "Two processes, large network",
        "The same with the network of 35.6 million weights.",
        "cluster.md",
        ("benchmarks/scaling.py --bundle {bundle} --json {json}",),
        quick=None,
        full="--events 320",
    ),
    "memory": Benchmark(
        "Memory of a long run",
        "One file of many events, then small files without end.",
        "inference.md",
        ("benchmarks/memory.py --backend openvino --json {json}",),
        quick="--minutes 1 --events 4000",
        full="--minutes 60",
    ),
    "kill_test": Benchmark(
        "Killed at random moments",
        "SIGKILL, again and again; every result is compared with that of an uninterrupted run.",
        "inference.md",
        ("benchmarks/kill_test.py --json {json}",),
        quick="--kills 10",
    ),
    "dask_kill": Benchmark(
        "Workers of a cluster killed at work",
        "SIGKILL of Dask workers in the middle of a file; compared with a run on one machine.",
        "cluster.md",
        ("benchmarks/dask_kill.py --json {json}",),
        quick="--events 2000 --kills 1",
    ),
    "batch_identity": Benchmark(
        "Whether the batch changes results",
        "64 events in batches of several sizes, bit by bit.",
        "cluster.md",
        ("benchmarks/batch_identity.py {bundle} --engines onnxruntime openvino --json {json}",),
    ),
    "year_of_data": Benchmark(
        "A year of data on N nodes",
        "A calculation from measured rates and assumptions that are stated in the file.",
        "cluster.md",
        ("benchmarks/year_of_data.py --json {json}",),
    ),
    "engines": Benchmark(
        "TensorRT engines",
        "Built without a GPU, with TensorRT for RTX.",
        "engines.md",
        ("benchmarks/engines.py --json {json}",),
        quick="--targets sm80",
    ),
    "quantize": Benchmark(
        "Precisions",
        "Errors and rates of graphs of lower precision; tables are on the page.",
        "precision.md",
        (),
        needs="`benchmarks/quantize.py` on trained bundles and their events",
    ),
    "export_reference": Benchmark(
        "Exports of reference checkpoints",
        "Bytes of a second export, and checks.",
        "exporting.md",
        (),
        needs="reference checkpoints: `benchmarks/export_reference.py FOLDER`",
    ),
    "position_fit": Benchmark(
        "Conventional reconstruction in C++",
        "On one core, by processor time, beside the experiment's compiled macro.",
        "cpp.md",
        (),
        needs="reference data: `benchmarks/position_fit.py`",
    ),
    "fillers": Benchmark(
        "Filling dead channels",
        "Conventional fillers as graphs ahead of the network.",
        "inpainting.md",
        ("benchmarks/fillers.py --json {json}",),
        quick="--events 100",
    ),
    "inpainting": Benchmark(
        "Resolution with dead channels",
        "68 % half widths of residuals, 5 % of all channels dead.",
        "inpainting.md",
        (),
        needs="trained networks: `benchmarks/inpainting.py`",
    ),
    "loader": Benchmark(
        "Reading for training",
        "Shuffled batches out of files, on one to three processes.",
        "training.md",
        ("benchmarks/loader.py --json {json}",),
        quick="--events 2000 --files 2 --workers 0 --codecs LZ4 --repeat 1",
    ),
    "training": Benchmark(
        "The trainer beside a plain loop",
        "Steps of one network, in turns.",
        "training.md",
        ("benchmarks/training.py --json {json}",),
        quick="--batch 8 --steps 4 --repeat 1",
        full="--batch 16 --steps 12",
    ),
    "architectures": Benchmark(
        "Networks beside conventional estimates",
        "68 % half widths of residuals at the same labelled events and processor time.",
        "training.md",
        (),
        needs="simulated runs, hours: `benchmarks/architectures.py`",
    ),
    "distillation": Benchmark(
        "Distilled networks",
        "Resolution of students that learned from the truth and from a teacher.",
        "distillation.md",
        (),
        needs="a trained teacher, hours: `benchmarks/distillation.py`",
    ),
    "pretraining": Benchmark(
        "Pretrained networks",
        "Resolution by the number of labelled events; mean over samples.",
        "pretraining.md",
        (),
        needs="a pretrained encoder, hours: `benchmarks/pretraining.py`",
    ),
}
