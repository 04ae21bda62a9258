"""Engines and precisions that may be chosen unasked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from xec_deploy.backends.cores import arithmetic_of
from xec_deploy.backends.devices import parse_device
from xec_deploy.backends.registry import AUTO, BACKENDS, get_engine
from xec_deploy.bundle.engine import FP32, find_graph
from xec_deploy.bundle.proofs import Proof, read_proofs
from xec_deploy.errors import CheckFailed, UsageError
from xec_deploy.gates import load_gates

if TYPE_CHECKING:
    from xec_deploy.bundle import Bundle

__all__ = ["Candidate", "find_candidates"]

FOR_OTHER_DEVICE: Final = {"cpu": "-trt", "cuda": "-cpu"}
"""How names of graphs end that were made for the other kind of device."""


@dataclass(frozen=True)
class Candidate:
    """An engine in one precision.

    Attributes
    ----------
    backend, precision
        What it is.
    verdict
        Why it may be taken, or why not.
    allowed
        Whether it may.
    events_per_s
        As measured; None where it was not.
    """

    backend: str
    precision: str
    verdict: str
    allowed: bool = True
    events_per_s: float | None = None

    def describe(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


def find_candidates(
    bundle: Bundle,
    backend: str,
    precision: str,
    device: str,
    inpaint: str | None,
    within: str | None = None,
) -> tuple[Candidate, ...]:
    """Return engines and precisions, those that may not be taken with the reason.

    fp32 is proven by the golden events on opening, which must be within the fp32 gate one by one.
    Any other precision must have been compared on measured events with the same graph, engine and
    version on a processor or GPU of the same kind, recorded in the bundle, and be within its gate.

    Parameters
    ----------
    bundle
        Has graphs and proofs.
    backend, precision
        ``auto``, or a name.
    device, inpaint
        As for :meth:`~xec_deploy.bundle.Bundle.backend`.
    within
        With precision ``auto``: the only one wanted, because results were begun in it.

    Raises
    ------
    UsageError
        If no engine has the device and precision.
    CheckFailed
        If none may be taken.
    BundleError
        If the record of parity is damaged.
    """
    names = _engines(device) if backend == AUTO else [backend]
    if precision != AUTO:
        return tuple(_with_graph(bundle, names, precision, device, inpaint))
    found = tuple(
        candidate
        for name in names
        for candidate in _of_engine(bundle, name, device, inpaint)
        if within in {None, candidate.precision}
    )
    if not any(candidate.allowed for candidate in found):
        reasons = "; ".join(f"{one}: {one.verdict}" for one in found) or "no engine has it"
        begun = "" if within is None else f" in {within}, in which results were begun,"
        raise CheckFailed(
            f"nothing may be chosen{begun} ({reasons})",
            where=str(bundle.path),
            fix="Name a --precision yourself, or compare and record: xec-deploy parity BUNDLE "
            "--data EVENTS --precision all --record.",
        )
    return found


def _engines(device: str) -> list[str]:
    kind = parse_device(device).kind
    return [
        name
        for name, engine in BACKENDS.items()
        if kind in engine.candidate_on and kind in engine.classes and engine.present
    ]


def _with_graph(
    bundle: Bundle, names: Iterable[str], precision: str, device: str, inpaint: str | None
) -> Iterator[Candidate]:
    """Yield the engines that have a graph to run in a precision."""
    able, refusal = False, None
    for name in names:
        try:
            find_graph(bundle, name, precision, device, inpaint)
        except UsageError as error:
            refusal = refusal or error
        else:
            able = True
            yield Candidate(name, precision, "asked for")
    if refusal is not None and not able:
        raise refusal


def _of_engine(bundle: Bundle, name: str, device: str, inpaint: str | None) -> Iterator[Candidate]:
    graphs = bundle.manifest.graphs
    kind = parse_device(device).kind
    own = get_engine(name).computes_in(device)
    proofs = read_proofs(bundle.path) if bundle.path.is_dir() else ()
    for precision in dict.fromkeys((*graphs, *own)) if graphs else (FP32,):
        if precision.endswith(FOR_OTHER_DEVICE[kind]):
            continue
        record = graphs.get(precision) or graphs.get(FP32)
        subject = (name, kind, precision, "" if record is None else record.canonical_sha256)
        found = [proof for proof in proofs if proof.subject == subject]
        changed = bundle.inpainting(inpaint) != bundle.inpainting()
        yield _judged(name, precision, device, found, changed=changed)


def _judged(
    name: str, precision: str, device: str, proofs: list[Proof], *, changed: bool
) -> Candidate:
    """Judge an engine in one precision by what was recorded of it."""
    version, arithmetic = get_engine(name).version, arithmetic_of(device)
    here = [
        proof
        for proof in proofs
        # An engine of TensorRT states its flavour first.
        if proof.version.split()[-1:] == [version] and proof.arithmetic == arithmetic
    ]
    gates = load_gates()
    if precision == FP32:
        failure = next((text for proof in here if (text := proof.failure(gates))), None)
        verdict = failure or "proven by the golden events"
        return Candidate(name, precision, verdict, allowed=failure is None)
    if changed:
        reason = "its parity is known with the bundle's own way to treat dead channels"
        return Candidate(name, precision, reason, allowed=False)
    if not here:
        others = ", ".join(f"{p.engine} {p.version} on {p.arithmetic}" for p in proofs)
        reason = f"its parity is known for {others}" if others else "its parity was not recorded"
        return Candidate(name, precision, reason, allowed=False)
    proof = here[0]
    refusal = proof.failure(gates) or proof.gap(gates)
    if refusal is not None:
        return Candidate(name, precision, refusal, allowed=False)
    worst = proof.worst
    verdict = (
        f"parity of {proof.events} events: {worst.quantity} "
        f"{max(worst.spread, abs(worst.bias)):.2g} sigma, the gate is {gates.of(precision):g}"
    )
    return Candidate(name, precision, verdict)
