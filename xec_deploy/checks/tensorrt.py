"""What TensorRT itself says."""

from __future__ import annotations

from collections.abc import Iterator

from xec_deploy.checks.registry import Finding, NotApplicable, check
from xec_deploy.checks.subject import Subject
from xec_deploy.errors import MissingExtra
from xec_deploy.tensorrt import load_flavour, refusals

__all__ = ["parser_accepts"]


@check("E20", static=False)
def parser_accepts(subject: Subject) -> Iterator[Finding]:
    """TensorRT's ONNX parser accepts every node.

    Protects the way to a GPU engine: the parser is the real one of the installed flavour and names
    the node, the operator and its reason. It needs no GPU. A graph it accepts may still fail to
    build; one it refuses never builds. The research code's exporter fails here, because its
    hexagonal convolution becomes ScatterElements with reduction=add.
    """
    if subject.precision == "int8-cpu":
        raise NotApplicable("the graph is quantised for CPUs")
    try:
        flavour = load_flavour()
    except MissingExtra as error:
        raise NotApplicable(str(error)) from error
    for refusal in refusals(flavour, subject.path):
        yield Finding(
            f"refused by {flavour.title}: {refusal.reason}",
            node=refusal.node,
            operator=refusal.operator,
        )
