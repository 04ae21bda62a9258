"""Plots and tables of ``benchmarks/quantize.py``, for ``docs/precision.md``.

python benchmarks/quantize_figures.py benchmarks/results/quantize.json docs/images
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from xec_deploy.gates import load_gates
from xec_deploy.report.style import CONVENTIONAL, MUTED, NETWORK, PNG_DPI, new_figure, plot_style


def draw_sensitivity(results: dict[str, Any], folder: Path) -> None:
    """Plot the error of each group alone, and which stay in float."""
    gate = load_gates().of("int8")
    with plot_style():
        figure = new_figure(9.0, 3.9)
        for axis, (name, entry) in zip(
            figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
        ):
            found = entry["graphs"]["int8-cpu"]
            groups = found["sensitivity"][::-1]
            low = set(found.get("low", ()))
            colours = [NETWORK if g["group"] in low else CONVENTIONAL for g in groups]
            axis.barh(range(len(groups)), [g["worst"] for g in groups], color=colours, height=0.7)
            total = sum(entry["groups"].values())
            labels = [f"{g['group']}  {g['multiply_adds'] / total:.1%}" for g in groups]
            axis.set_yticks(range(len(groups)), labels)
            axis.axvline(gate, color=MUTED, lw=1, ls="--")
            axis.set(xscale="log", xlabel="error of the group alone [detector sigma]")
            axis.set_title(f"{name}: blue whole in int8")
        figure.savefig(
            folder / "precision_sensitivity.png", dpi=PNG_DPI, metadata={"Software": None}
        )


def draw_pareto(results: dict[str, Any], folder: Path) -> None:
    """Plot error against speed: growing sets of groups in int8, and the other precisions."""
    with plot_style():
        figure = new_figure(9.0, 3.4)
        for axis, (name, entry) in zip(
            figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
        ):
            speeds, errors = entry["speed"], entry["engines"]
            points = [
                (speeds[f"{key}, openvino"], point["worst"], point["share"])
                for key, point in entry["pareto"].items()
                if f"{key}, openvino" in speeds and point["worst"] > 0
            ]
            axis.plot(*zip(*[p[:2] for p in points], strict=True), "o-", ms=4, color=NETWORK,
                      label="growing share in int8")  # fmt: skip
            for rate, worst, share in points:
                axis.annotate(f"{share:.0%}", (rate, worst), fontsize=7, xytext=(3, 3),
                              textcoords="offset points")  # fmt: skip
            for label, marker in (("fp32, openvino", "s"), ("bf16, openvino", "D"),
                                  ("fp32, onnxruntime", "^"), ("int8, onnxruntime", "v"),
                                  ("int8, openvino", "*")):  # fmt: skip
                if label in speeds and label in errors:
                    axis.plot(speeds[label], max(errors[label]["worst"], 1e-6), marker, ms=7,
                              ls="", label=label)  # fmt: skip
            for precision in ("int8", "bf16", "fp32"):
                axis.axhline(load_gates().of(precision), color=MUTED, lw=0.7, ls="--")
            axis.set(yscale="log", xlabel="events/s", ylabel="error [detector sigma]", title=name)
            axis.legend(fontsize=7)
        figure.savefig(folder / "precision_pareto.png", dpi=PNG_DPI, metadata={"Software": None})


def tables(results: dict[str, Any]) -> str:
    """Lay out the tables of ``docs/precision.md``."""
    lines: list[str] = []
    for name, entry in results.items():
        lines += ["", f"| {name}: graph | in low precision | everything low | chosen | gate |"]
        lines += ["|---|---|---|---|---|"]
        for graph, found in entry["graphs"].items():
            if "score" not in found:
                lines.append(f"| {graph} | none | {found['failed']} | | |")
                continue
            share = found["share"]
            lines.append(
                f"| {graph} | {share:.0%} | {found['everything']['worst']:.3g} | "
                f"{found['score']['worst']:.3g} | {found['gate']} |"
            )
        lines += ["", f"| {name}: ranges | sigma |", "|---|---|"]
        lines += [f"| {k} | {v['worst']:.3g} |" for k, v in entry["methods"].items()]
        lines += [f"| onnxruntime, {k} | {v['worst']:.3g} |" for k, v in entry["static"].items()]
        lines += ["", f"| {name}: engine | events/s | sigma |", "|---|---|---|"]
        for label, rate in entry.get("speed", {}).items():
            error = entry.get("engines", {}).get(label)
            if error is not None:
                lines.append(f"| {label} | {rate:.0f} | {error['worst']:.3g} |")
    return "\n".join(lines)


def main() -> None:
    """Draw the figures and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    draw_sensitivity(results, options.folder)
    if all("pareto" in entry and "speed" in entry for entry in results.values()):
        draw_pareto(results, options.folder)
    print(tables(results))


if __name__ == "__main__":
    main()
