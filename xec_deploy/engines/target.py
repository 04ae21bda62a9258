"""Which library builds, and for which GPU."""

from __future__ import annotations

from xec_deploy.errors import MissingExtra, UsageError, nearest
from xec_deploy.tensorrt import Flavour, installed_flavours, load_flavour
from xec_deploy.tensorrt.device import gpu_capability

__all__ = ["choose_flavour", "choose_target", "targets"]


def choose_flavour(name: str | None) -> Flavour:
    """Return a flavour by name, or one that can build here.

    Raises
    ------
    UsageError
        If there is no such flavour.
    MissingExtra
        If it, or any, is not installed.
    """
    if name is not None:
        return load_flavour(name)
    present = installed_flavours()
    if not present:
        raise MissingExtra("tensorrt-rtx", "rtx", needed_for="build-engine")
    # Only TensorRT for RTX builds without a GPU.
    able = [f for f in present if f.name == "rtx" or gpu_capability() is not None]
    return (able or list(present))[0]


def targets(flavour: Flavour) -> tuple[str, ...]:
    """Return the compute capabilities a flavour builds for without such a GPU, as ``sm80``."""
    members = getattr(flavour.module, "ComputeCapability", None)
    if flavour.name != "rtx" or members is None:
        return ()
    names = [name.lower() for name in members.__members__ if name.startswith("SM")]
    return tuple(sorted(names, key=lambda name: int(name[2:])))


def choose_target(flavour: Flavour, wanted: str | None) -> str:
    """Return the compute capability to build for.

    Raises
    ------
    UsageError
        If the flavour cannot build for it, or there is neither a target nor a GPU.
    """
    here = gpu_capability()
    offered = targets(flavour)
    if wanted is None and here is None:
        fix = f"Pass --target, one of {', '.join(offered)}." if offered else "Use --flavour rtx."
        raise UsageError("there is no GPU here to build for", fix=fix)
    chosen = (wanted or here or "").lower()
    if offered and chosen not in offered:
        raise UsageError(
            f"{flavour.title} does not build for {chosen!r}", fix=nearest(chosen, offered)
        )
    if not offered and chosen != here:
        raise UsageError(
            f"{flavour.title} builds for the GPU it runs on ({here or 'there is none'}), "
            f"not for {chosen!r}",
            fix="Build on the machine that will run the engine, or use --flavour rtx.",
        )
    return chosen
