"""Which output belongs to which input."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path, PurePosixPath

from xec_deploy.errors import UsageError
from xec_deploy.events import InputFile

__all__ = ["make_folder", "plan_outputs"]

RESULT_SUFFIX = "_xec.root"


def plan_outputs(
    inputs: Sequence[InputFile], output: str | PathLike[str], *, single: bool
) -> list[Path]:
    """Return one output path per input; in ``single`` mode all are the same.

    ``output`` is a file if it ends in ``.root`` and a folder otherwise, in which an input
    ``run1.root`` becomes ``run1_xec.root``, and several trees of it ``run1_TREE_xec.root``.

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
        planned = [target / (_stem(item, inputs) + RESULT_SUFFIX) for item in inputs]
    if target.suffix == ".root" and target.is_dir():
        raise UsageError("this is a directory", where=str(target), fix="Name a file in it.")
    if target.suffix != ".root" and target.exists() and not target.is_dir():
        raise UsageError(
            "the output is a file, and not one ending in .root",
            where=str(target),
            fix="Name a folder, or a file ending in .root.",
        )
    owners: dict[Path, InputFile] = {}
    sources = {Path(item.path).resolve() for item in inputs}
    for item, path in zip(inputs, planned, strict=True):
        other = owners.setdefault(path, item)
        if other is not item and not single:
            raise UsageError(
                f"{_label(other)} and {_label(item)} would both be written to {path}",
                fix="Infer them into separate folders.",
            )
        if path.resolve() in sources:
            raise UsageError("the output is one of the inputs", where=str(path))
    return planned


def make_folder(path: Path) -> None:
    """Make the folder of an output.

    Raises
    ------
    UsageError
        If it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder cannot be made ({error.strerror})",
            where=str(path.parent),
            fix="Choose a place where you may write.",
        ) from error


def _stem(item: InputFile, inputs: Sequence[InputFile]) -> str:
    stem = PurePosixPath(item.path).stem
    several = sum(other.path == item.path for other in inputs) > 1
    return f"{stem}_{item.tree.replace('/', '_')}" if several and item.tree else stem


def _label(item: InputFile) -> str:
    return item.path if item.tree is None else f"{item.path}:{item.tree}"
