"""``xec-deploy infer``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from xec_deploy.backends import AUTO, BACKENDS
from xec_deploy.cli.console import output_console
from xec_deploy.cli.progress import progress_of
from xec_deploy.cluster import infer_on_cluster
from xec_deploy.errors import ExitCode, XecError
from xec_deploy.inference import FileResult, InferenceSummary
from xec_deploy.inference import infer as run_inference

__all__ = ["infer", "print_summary"]


_RESULTS: dict[str, Callable[[FileResult], Text]] = {
    "done": lambda file: Text(
        f"{file.output}" + (f" ({file.resumed} from before)" if file.resumed else "")
    ),
    "skipped": lambda file: Text(
        "no entry of these runs" if file.output is None else f"{file.output} (kept)"
    ),
    "failed": lambda _: Text("failed", "red"),
    "unfinished": lambda _: Text("unfinished", "yellow"),
}


@click.command(
    epilog="""Examples:

\b
xec-deploy infer compact.xec 'data/run*.root' -o results/
xec-deploy infer compact.xec @runs.txt -o results/ --precision auto""",
)
@click.argument("bundle")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT..")
@click.option("-o", "--output", required=True, help="A .root file, or a folder.")
@click.option("--backend", default=AUTO, help=f"Engine: {AUTO}, {', '.join(BACKENDS)}.")
@click.option("--device", default="cpu", show_default=True, help="Where the engine runs.")
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    help="Graph of the bundle to run, or what the engine makes of it; 'auto' for the fastest whose "
    "parity is recorded in the bundle (xec-deploy parity --record) and within its gate.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Events run at once; tuned if absent.")
@click.option("--sessions", type=click.IntRange(min=1), help="Batches that run at the same time.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each session.")
@click.option(
    "--dead",
    help="Dead channels: a file of ids, a list of '<run> <file>', a template with {run}, "
    "'branch[:NAME]' or 'none'. If absent, the branch 'dead' where the file has one. Channels "
    "with invalid values always count as dead.",
)
@click.option(
    "--inpaint",
    help="How dead channels are filled: model, solid-angle, neighbours or none; as the bundle "
    "does if absent.",
)
@click.option("--npho-branch", help="Branch of raw photons; detected if absent.")
@click.option("--time-branch", help="Branch of times [s]; detected if absent.")
@click.option("--tree", help="Tree or RNTuple; detected if absent.")
@click.option("--entries", metavar="A:B", help="Entries A up to but without B of each input.")
@click.option("--runs", metavar="A-B", help="Entries of these runs: 430000-430100, or a list.")
@click.option(
    "--keep", multiple=True, metavar="BRANCH", help="Branch to pass through (repeatable)."
)
@click.option(
    "--reco",
    default="none",
    show_default=True,
    help="'conventional' writes the conventional reconstruction beside the network's results.",
)
@click.option("--geometry", help="Sensor table (CSV) for --reco; the design if absent.")
@click.option("--reco-constants", help="Constants (JSON) for --reco; of the simulation if absent.")
@click.option(
    "--style",
    default="xec",
    show_default=True,
    help="'legacy' writes the tree and branches of the research script.",
)
@click.option("--format", "format_", default="ttree", show_default=True, help="ttree or rntuple.")
@click.option("--single", is_flag=True, help="Join the results of all inputs in one file.")
@click.option("--force", is_flag=True, help="Replace existing results, start unfinished ones anew.")
@click.option(
    "--dask",
    metavar="CLUSTER",
    help="Run on a Dask cluster: the address of a scheduler, local:N for N processes here, or "
    "slurm:FILE, htcondor:FILE for jobs with the settings in a YAML file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def infer(
    bundle: str,
    inputs: tuple[str, ...],
    output: str,
    backend: str,
    device: str,
    precision: str,
    batch: int | None,
    sessions: int | None,
    threads: int | None,
    dead: str | None,
    inpaint: str | None,
    npho_branch: str | None,
    time_branch: str | None,
    tree: str | None,
    entries: str | None,
    runs: str | None,
    keep: tuple[str, ...],
    reco: str,
    geometry: str | None,
    reco_constants: str | None,
    style: str,
    format_: str,
    single: bool,
    force: bool,
    dask: str | None,
    as_json: bool,
) -> int:
    """Run BUNDLE over files of raw events and write physics numbers.

    INPUT is a file, a glob, a URL, file.root:tree, or @list with lines '<run> <path>'. Results
    are one ROOT file per input: TTree 'xec' with as many entries in the same order. A bad file
    is reported and skipped, the others finish (exit code 3). Interrupted work is in OUTPUT.part:
    the same command continues it.
    """
    stopped: XecError | None = None
    run = run_inference if dask is None else partial(infer_on_cluster, dask)
    try:
        with progress_of("infer") as progress:
            summary = run(
                bundle,
                inputs,
                output,
                backend=backend,
                device=device,
                precision=precision,
                batch=batch,
                sessions=sessions,
                threads=threads,
                tree=tree,
                npho_branch=npho_branch,
                time_branch=time_branch,
                dead=dead,
                inpaint=inpaint,
                entries=entries,
                runs=runs,
                keep=keep,
                reco=reco,
                geometry=geometry,
                reco_constants=reco_constants,
                style=style,
                format=format_,
                single=single,
                force=force,
                progress=progress,
            )
    except XecError as error:
        if error.summary is None:
            raise
        summary, stopped = error.summary, error
    if as_json:
        click.echo(json.dumps(summary.to_dict(), indent=2))
    else:
        print_summary(summary)
    if stopped is not None:
        raise stopped
    return exit_code(summary)


def exit_code(summary: InferenceSummary) -> ExitCode:
    """Return the contract's code: 2 if nothing could even be begun, 3 if anything is missing."""
    failed = summary.of("failed")
    if len(failed) == len(summary.files) and not any(file.entries for file in failed):
        return ExitCode.UNUSABLE
    return ExitCode.PARTIAL if failed else ExitCode.DONE


def print_summary(summary: InferenceSummary) -> None:
    """Print one row per input file, and what ran."""
    table = Table("input", "entries", "status", "result", box=None, pad_edge=False)
    for file in summary.files:
        marks = ", ".join(
            f"{count} {name.lower().replace('_', ' ')}"
            for name, count in file.status_counts.items()
        )
        result = _RESULTS[file.outcome](file)
        entries = str(file.entries) if file.outcome != "failed" else ""
        # As Text, because a name such as "run[b].root" would be taken for markup.
        table.add_row(Text(Path(file.input).name), entries, marks or "", result)
    console = output_console()
    console.print(table)
    for line in _closing_lines(summary):
        console.print(Text(line))


def _chosen_lines(choice: Mapping[str, Any]) -> Iterator[str]:
    """Say what could have been taken where the precision was left open, the fastest first."""
    yield f"precision left open: {choice['taken']}"
    by_speed = sorted(choice["considered"], key=lambda one: -(one["events_per_s"] or 0))
    for one in by_speed:
        rate = one["events_per_s"]
        speed = "" if rate is None else f", {rate:.0f} events/s"
        mark = "could be taken" if one["allowed"] else "was not considered"
        yield f"  {one['backend']} {one['precision']} {mark}{speed}: {one['verdict']}"


def _closing_lines(summary: InferenceSummary) -> Iterator[str]:
    """Say how much was done, how fast, with what, and which channels counted as dead."""
    counts = Counter(file.outcome for file in summary.files)
    line = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    made = sum(file.entries - file.resumed for file in summary.of("done"))
    seconds = summary.stages.get("total", 0.0)
    if made and seconds:
        line += f"; {made} events in {seconds:.1f} s, {made / seconds:.0f} events/s"
    yield line
    if summary.engine:
        yield (
            "{name} on {device} in {precision}; dead channels: {dead_channels}, and those with "
            "invalid values; inpainting: {inpainting}".format_map(summary.engine)
        )
        if summary.engine.get("choice"):
            yield from _chosen_lines(summary.engine["choice"])
    if summary.drift.get("events"):
        shifts = ", ".join(
            f"{name.replace('_', ' ')} {entry['shift']:+.2f}"
            for name, entry in summary.drift["quantities"].items()
            if entry["shift"] is not None
        )
        yield (
            f"against training events: {summary.drift['outside']} of {summary.drift['events']} "
            f"outside their range; means shifted by {shifts} standard deviations"
        )
