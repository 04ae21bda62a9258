"""The hash by which everything derived from a graph knows it."""

from __future__ import annotations

from collections.abc import Iterator

from xec_deploy.bundle.onnx_file import canonical_hash
from xec_deploy.checks.registry import Finding, NotApplicable, check
from xec_deploy.checks.subject import Subject

__all__ = ["recorded"]


@check("E21")
def recorded(subject: Subject) -> Iterator[Finding]:
    """Canonical hash of the graph recorded in the manifest.

    Protects everything that is derived from a graph and kept: engines, calibrations and results
    name the network by this hash, which leaves metadata out. A wrong one makes a stale engine look
    fresh.
    """
    found = canonical_hash(subject.model)
    if subject.record is None:
        raise NotApplicable(f"a lone file has no record; its canonical hash is {found[:16]}..")
    if subject.record.canonical_sha256 != found:
        yield Finding(
            f"recorded {subject.record.canonical_sha256[:16]}.., the graph has {found[:16]}.."
        )
