"""TensorRT's ONNX parser, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xec_deploy.tensorrt.flavour import Flavour, LogRecord

__all__ = ["Refusal", "create_network", "parse_onnx", "refusals"]

# "Parsing node: NAME [Operator]"; the only trace of the node where an error carries none, as with
# ScatterElements (TensorRT-RTX 1.7).
_PARSING: Final = re.compile(r"^Parsing node: (?P<node>.*) \[(?P<operator>\w+)\]$")


@dataclass(frozen=True)
class Refusal:
    """A node the parser refuses."""

    node: str
    operator: str
    reason: str


def create_network(flavour: Flavour, builder: Any) -> Any:
    """Return an empty network in which every type is the one the graph states.

    From version 11 on, and in TensorRT for RTX, all networks are of this kind and the flag is
    without effect or gone; without it version 10 would choose types of its own.
    """
    flags = getattr(flavour.module, "NetworkDefinitionCreationFlag", None)
    strongly_typed = getattr(flags, "STRONGLY_TYPED", None)
    return builder.create_network(0 if strongly_typed is None else 1 << int(strongly_typed))


def parse_onnx(
    flavour: Flavour, network: Any, logger: Any, path: Path
) -> tuple[Any, tuple[Refusal, ...]]:
    """Parse a file into ``network``.

    Parameters
    ----------
    flavour, network
        The library and an empty network of it.
    logger
        From :meth:`Flavour.logger`, that of the network's builder.
    path
        The ONNX file.

    Returns
    -------
    parser
        To be kept as long as the network, whose weights it holds.
    refused
        What was refused; empty if the network is complete.
    """
    parser = flavour.module.OnnxParser(network, logger)
    start = len(logger.records)
    if parser.parse_from_file(str(path)):
        return parser, ()
    return parser, _refused(parser, _last_parsed(logger.records[start:]))


def refusals(flavour: Flavour, path: Path) -> tuple[Refusal, ...]:
    """Return the nodes of an ONNX file that the parser refuses, with its reasons."""
    trt = flavour.module
    logger = flavour.logger()
    builder = trt.Builder(logger)
    network = create_network(flavour, builder)
    # Kept by name: a parser must not outlive its network.
    parser, found = parse_onnx(flavour, network, logger, path)
    if not found:
        return ()
    # Parsing stops at the first refusal; this goes on. It fills the network it is given.
    scratch = create_network(flavour, builder)
    others = trt.OnnxParser(scratch, logger)
    others.supports_model_v2(path.read_bytes(), str(path))
    known = {(refusal.operator, refusal.reason) for refusal in found}
    further = [
        refusal
        for refusal in _refused(others, ("", ""))
        if refusal.operator and (refusal.node or (refusal.operator, refusal.reason) not in known)
    ]
    del parser, others
    return tuple(dict.fromkeys([*found, *further]))


def _refused(parser: Any, last: tuple[str, str]) -> tuple[Refusal, ...]:
    """Return the errors of a parser; those without a node are about the last one it parsed."""
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node, operator = error.node_name(), error.node_operator()
        if operator in {"", last[1]}:
            node, operator = node or last[0], last[1]
        found.append(Refusal(node, operator, _reason(error.desc())))
    return tuple(found)


def _last_parsed(records: Iterable[LogRecord]) -> tuple[str, str]:
    last = ("", "")
    for _, message in records:
        match = _PARSING.match(message)
        if match:
            last = (match["node"], match["operator"])
    return last


def _reason(text: str) -> str:
    # What follows is that there is no GPU, which parsing does not need.
    text = text.partition("[checkMacros.cpp")[0]
    return " ".join(text.split()).rstrip(".")
