"""Input arguments of a command: files, globs, URLs, ``file.root:tree`` and run lists."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from xec_deploy.errors import UsageError
from xec_deploy.events.failures import is_url

__all__ = ["InputFile", "expand_inputs", "parse_input", "read_list_lines"]

logger = logging.getLogger(__name__)

WITH_TREE = re.compile(r"(?P<path>.*\.root(?:\?[^:]*)?):(?P<tree>[^:]+)", re.IGNORECASE)
COMMENT = re.compile(r"(?:^|\s)#.*$")


@dataclass(frozen=True)
class InputFile:
    """One file to read.

    ``tree`` is None where it is to be found in the file, ``run`` is the run number a run list
    gives (used where the file has no ``run`` branch).
    """

    path: str
    tree: str | None = None
    run: int | None = None


def parse_input(argument: str | os.PathLike[str]) -> InputFile:
    """Split ``file.root:tree``; a path object and an existing file are taken as they are.

    The colons of a URL's scheme and port are never taken for a tree separator.
    """
    text = os.fspath(argument)
    if isinstance(argument, os.PathLike) or Path(text).exists():
        return InputFile(text)
    # the tree can only follow the path part of a URL: "root://a.root:1094//b" names no tree
    path_start = text.find(urlsplit(text).path) if is_url(text) else 0
    match = WITH_TREE.fullmatch(text[path_start:])
    if match is None:
        return InputFile(text)
    return InputFile(text[:path_start] + match["path"], match["tree"])


def expand_inputs(
    arguments: Sequence[str | os.PathLike[str] | InputFile], *, tree: str | None = None
) -> list[InputFile]:
    """Expand input arguments to the files they mean, in order.

    Parameters
    ----------
    arguments
        Files, globs (sorted), URLs, ``file.root:tree``, and run lists ``@runs.txt`` with lines
        ``<run> <path>`` and ``#`` comments; paths in a list are relative to the list.  An
        :class:`InputFile`, as another process has expanded it, stays what it is.
    tree
        Tree name for every input that does not name its own.

    Returns
    -------
    inputs
        Without duplicates (a duplicate is logged).  A plain path that does not exist is kept:
        it is a bad file among others, reported when it is opened.

    Raises
    ------
    UsageError
        If there is no argument, a glob matches nothing, or a run list cannot be used.
    """
    if not arguments:
        raise UsageError("no input given", fix="Name ROOT files, a glob, a URL or @runs.txt.")
    unique: dict[tuple[str, str | None], InputFile] = {}
    for argument in arguments:
        for found in _expand(argument):
            item = found if found.tree is not None else replace(found, tree=tree)
            identity = item.path if is_url(item.path) else os.path.realpath(item.path)
            if (identity, item.tree) in unique:
                logger.warning("%s is given more than once and is read once", item.path)
                continue
            unique[identity, item.tree] = item
    return list(unique.values())


def _expand(argument: str | os.PathLike[str] | InputFile) -> Iterator[InputFile]:
    if isinstance(argument, InputFile):
        yield argument
        return
    if isinstance(argument, str) and argument.startswith("@"):
        yield from _read_run_list(argument[1:])
        return
    item = parse_input(argument)
    if is_url(item.path) or Path(item.path).exists() or not glob.has_magic(item.path):
        yield item
        return
    matches = sorted(glob.glob(item.path, recursive=True))  # noqa: PTH207 -- keeps './x' as typed
    if not matches:
        raise UsageError(
            "no file matches the pattern",
            where=item.path,
            fix="Check the path, and quote the pattern if the shell should not expand it.",
        )
    for match in matches:
        yield replace(item, path=match)


def _read_run_list(path: str) -> Iterator[InputFile]:
    count = 0
    for number, line in read_list_lines(path, "run list"):
        where = f"{path}, line {number}"
        fields = line.split(maxsplit=1)
        if len(fields) != 2 or not fields[0].isdecimal():
            raise UsageError(
                f"'{line}' is not '<run> <path>'",
                where=where,
                fix="Write a run number, a blank and a path on each line; '#' starts a comment.",
            )
        run, target = int(fields[0]), fields[1]
        if target.startswith("@"):
            raise UsageError("a run list cannot name another one", where=where, fix="Join them.")
        if not is_url(target):
            target = os.path.join(os.path.dirname(path), os.path.expanduser(target))  # noqa: PTH111, PTH118, PTH120 -- "x:tree" and globs are text, not paths yet
        for item in _expand(target):
            count += 1
            yield replace(item, run=run)
    if count == 0:
        raise UsageError("the run list names no file", where=path, fix="Add lines '<run> <path>'.")


def read_list_lines(path: str, kind: str) -> list[tuple[int, str]]:
    """Return (line number from 1, text) of a text file's lines without comments and blanks.

    Raises
    ------
    UsageError
        If the file cannot be read as text; ``kind`` says what it should be.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(
            f"the {kind} cannot be read ({reason})", where=path, fix="Check the path."
        ) from error
    lines = (
        (number, COMMENT.sub("", line).strip()) for number, line in enumerate(text.splitlines(), 1)
    )
    return [(number, line) for number, line in lines if line]
