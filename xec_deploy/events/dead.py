"""Sources of dead channels: none, a branch of the file, a list of ids, or lists by run."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xec_deploy.detector.constants import N_SENSORS
from xec_deploy.errors import InputError, UsageError, nearest
from xec_deploy.events.inputs import read_list_lines

__all__ = ["DeadChannels", "dead_channels", "read_dead_file"]

DEFAULT_BRANCH = "dead"
RUN_FIELD = re.compile(r"\{run(?::[^{}]*)?\}")


class DeadChannels:
    """Where dead channels come from.

    A reader asks twice: once per file which branch to read (`branch_in`), and once per batch
    for the channels that are dead by run number (`mask_for`).  It joins both.
    """

    description: str
    """One line for people and provenance."""
    sha256: str
    """Hash of everything the source can answer from (hexadecimal)."""

    def branch_in(self, names: Collection[str], where: str) -> str | None:
        """Return the branch to read among ``names``, or None for none.

        Raises
        ------
        InputError
            If the source needs a branch that is not there; ``where`` says in which tree.
        """
        del names, where
        return None

    def mask_for(self, run: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the channels dead by run number, (n, 4760) or broadcastable (1, 4760) bool.

        Raises
        ------
        InputError
            If the source does not know one of the runs (n,): unknown is not "no dead channels".
        """
        del run
        return np.zeros((1, N_SENSORS), bool)


def dead_channels(spec: str | os.PathLike[str] | None) -> DeadChannels:
    """Make the source a user asks for with ``--dead``.

    Parameters
    ----------
    spec
        None: the branch ``dead`` where a file has one.  ``"none"``: no source, not even that
        branch.  ``"branch"`` or ``"branch:NAME"``: that branch, required.  Otherwise a text
        file: of ids, one a line; or of lines ``<run> <file of ids>`` (relative to the list); or
        a path with ``{run}`` in it, such as ``dead_run{run}.txt``.  ``#`` starts a comment.

    Raises
    ------
    UsageError
        If a file cannot be used, naming file and line.
    """
    if spec is None:
        return _BranchDead(DEFAULT_BRANCH, required=False)
    text = os.fspath(spec)
    if text == "none":
        return _NoDead()
    if text == "branch" or text.startswith("branch:"):
        return _BranchDead(text.partition(":")[2] or DEFAULT_BRANCH, required=True)
    if RUN_FIELD.search(text):
        return _PerRunDead(f"files {text}", _files_of_template(text), source=text)
    lines = read_list_lines(text, "dead-channel file")
    if lines and len(lines[0][1].split()) > 1:
        return _PerRunDead(f"run list {text}", _files_of_run_list(text, lines), source=text)
    return _FileDead(text)


def read_dead_file(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """Read a text file of dead channel ids, one a line, to a mask (4760,).

    Raises
    ------
    UsageError
        If the file cannot be read or a line is not an id from 0 to 4759.
    """
    mask = np.zeros(N_SENSORS, bool)
    for number, line in read_list_lines(os.fspath(path), "dead-channel file"):
        if not line.isdecimal() or int(line) >= N_SENSORS:
            raise UsageError(
                f"'{line}' is not a channel id from 0 to {N_SENSORS - 1}",
                where=f"{os.fspath(path)}, line {number}",
                fix="Write one id on each line; '#' starts a comment.",
            )
        mask[int(line)] = True
    return mask


class _NoDead(DeadChannels):
    description = "none"
    sha256 = hashlib.sha256(b"none").hexdigest()


class _BranchDead(DeadChannels):
    def __init__(self, branch: str, *, required: bool) -> None:
        self._branch = branch
        self._required = required
        self.description = f"branch '{branch}'" + ("" if required else " where present")
        self.sha256 = hashlib.sha256(self.description.encode()).hexdigest()

    def branch_in(self, names: Collection[str], where: str) -> str | None:
        if self._branch in names:
            return self._branch
        if not self._required:
            return None
        raise InputError(
            f"no branch '{self._branch}' with the dead channels",
            where=where,
            fix=f"{nearest(self._branch, names)} Choose with --dead branch:NAME.",
        )


class _FileDead(DeadChannels):
    def __init__(self, path: str) -> None:
        self._mask = read_dead_file(path)
        self.description = f"file {path} ({int(self._mask.sum())} channels)"
        self.sha256 = _hash_files({"": path})

    def mask_for(self, run: NDArray[np.int64]) -> NDArray[np.bool_]:
        del run
        return self._mask[np.newaxis]


class _PerRunDead(DeadChannels):
    """Files of ids by run; each is read when its run first comes, and kept."""

    def __init__(self, description: str, files: Mapping[int, str], *, source: str) -> None:
        self._files = files
        self._source = source
        self._masks: dict[int, NDArray[np.bool_]] = {}
        self.description = f"{description} ({len(files)} runs)"
        self.sha256 = _hash_files({str(run): path for run, path in sorted(files.items())})

    def mask_for(self, run: NDArray[np.int64]) -> NDArray[np.bool_]:
        runs, position = np.unique(run, return_inverse=True)
        if len(runs) == 0:
            return super().mask_for(run)
        masks = np.stack([self._mask_of(int(number)) for number in runs])
        return masks if len(runs) == 1 else masks[position]

    def _mask_of(self, run: int) -> NDArray[np.bool_]:
        if run not in self._masks:
            if run not in self._files:
                raise InputError(
                    f"run {run} has no dead-channel file",
                    where=self._source,
                    fix="Add the run, or give one file for all runs with --dead FILE.",
                )
            self._masks[run] = read_dead_file(self._files[run])
        return self._masks[run]


def _files_of_run_list(path: str, lines: list[tuple[int, str]]) -> dict[int, str]:
    files: dict[int, str] = {}
    for number, line in lines:
        where = f"{path}, line {number}"
        fields = line.split(maxsplit=1)
        if len(fields) != 2 or not fields[0].isdecimal():
            raise UsageError(
                f"'{line}' is not '<run> <file of channel ids>'",
                where=where,
                fix="Write a run number, a blank and a path on each line.",
            )
        run, target = int(fields[0]), str(Path(path).parent / fields[1])
        if files.setdefault(run, target) != target:
            raise UsageError(f"run {run} is listed twice", where=where, fix="Remove one of them.")
        if not Path(target).is_file():
            raise UsageError(f"no such file: {target}", where=where, fix="Check the path.")
    return files


def _files_of_template(template: str) -> dict[int, str]:
    """Find the existing files of a path template by run number."""
    directory, name = Path(template).parent, Path(template).name
    fields = RUN_FIELD.findall(name)
    try:
        template.format(run=0)
    except (ValueError, KeyError, IndexError) as error:
        raise UsageError(
            f"the path template is not valid ({error})",
            where=template,
            fix="Use {run} or, with leading zeros, {run:06d}, in the file name.",
        ) from error
    if not fields or RUN_FIELD.search(str(directory)):
        raise UsageError(
            "{run} must stand in the file name, not in its directory",
            where=template,
            fix="Use a run list instead: lines '<run> <path>'.",
        )
    pattern = re.compile("([0-9]+)".join(re.escape(part) for part in RUN_FIELD.split(name)))
    files: dict[int, str] = {}
    if directory.is_dir():
        for file in sorted(directory.iterdir()):
            match = pattern.fullmatch(file.name)
            if match and Path(template.format(run=int(match[1]))).name == file.name:
                files[int(match[1])] = str(file)
    if not files:
        raise UsageError("no file matches the path template", where=template, fix="Check it.")
    return files


def _hash_files(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for label, path in files.items():
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(
                f"the dead-channel file cannot be read ({error.strerror})", where=path
            ) from error
        digest.update(f"{label}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
