"""Which output belongs to which input."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path, PurePosixPath

from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile

__all__ = ["plan_outputs"]

RESULT_SUFFIX = "_xec.root"


def plan_outputs(
    inputs: Sequence[InputFile], output: str | PathLike[str], *, single: bool
) -> list[Path]:
    """Return one output path per input; in ``single`` mode all are the same.

    ``output`` is a file if it ends in ``.root`` and a folder otherwise, in which an input
    ``run1.root`` becomes ``run1_xec.root``.

    Raises
    ------
    UsageError
        If several inputs would share a file, or an output would overwrite an input.
    """
    target = Path(output)
    if target.suffix == ".root":
        if len(inputs) > 1 and not single:
            raise UsageError(
                f"{len(inputs)} inputs cannot go to one file",
                where=str(target),
                fix="Name a folder, or pass --single to join the results.",
            )
        planned = [target] * len(inputs)
    elif single:
        raise UsageError(
            "--single writes one file", where=str(target), fix="Name an output ending in .root."
        )
    else:
        planned = [target / (PurePosixPath(item.path).stem + RESULT_SUFFIX) for item in inputs]
    owners: dict[Path, str] = {}
    sources = {Path(item.path).resolve() for item in inputs}
    for item, path in zip(inputs, planned, strict=True):
        other = owners.setdefault(path, item.path)
        if other != item.path and not single:
            raise UsageError(
                f"{other} and {item.path} would both be written to {path}",
                fix="Infer them into separate folders.",
            )
        if path.resolve() in sources:
            raise UsageError("the output is one of the inputs", where=str(path))
    return planned
