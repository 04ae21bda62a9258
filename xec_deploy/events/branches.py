"""Which tree and which branches of a file hold the events."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xec_deploy.errors import InputError, nearest
from xec_deploy.events.failures import place

__all__ = ["BranchNames", "detect_branches", "detect_tree"]

logger = logging.getLogger(__name__)

TREE_CLASSES = frozenset({"TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"})
DEFAULT_TREE = "tree"
NPHO_CANDIDATES = ("npho", "relative_npho")
"""Not ``nphe``: photoelectrons are another unit, used only when asked for by name."""
TIME_CANDIDATES = ("relative_time", "time")


@dataclass(frozen=True)
class BranchNames:
    """Names of the branches in use; None where the file has no such branch."""

    npho: str
    time: str
    run: str | None = None
    event: str | None = None
    dead: str | None = None


def detect_tree(path: str, classes: Mapping[str, str], tree: str | None) -> str:
    """Choose the tree to read.

    Parameters
    ----------
    path
        The file, for messages.
    classes
        Class name by object name (without cycles), as in the file.
    tree
        The name asked for; None for ``tree`` if present, else the file's only tree.

    Raises
    ------
    InputError
        If there is no such tree, no tree at all, or a choice to make.
    """
    trees = [name for name, class_name in classes.items() if class_name in TREE_CLASSES]
    if not trees:
        raise InputError(
            "the file has no TTree or RNTuple", where=path, fix="Check that it holds events."
        )
    if tree is not None:
        if tree not in trees:
            raise InputError(
                f"the file has no tree '{tree}'",
                where=path,
                fix=f"{nearest(tree, trees)} Choose with --tree.",
            )
        return tree
    if DEFAULT_TREE in trees:
        return DEFAULT_TREE
    if len(trees) > 1:
        raise InputError(
            f"the file has {len(trees)} trees and none is named '{DEFAULT_TREE}'",
            where=path,
            fix=f"Choose one of {', '.join(sorted(trees))} with --tree.",
        )
    logger.info("%s: reading tree '%s'", path, trees[0])
    return trees[0]


def detect_branches(
    path: str,
    tree: str,
    names: Collection[str],
    *,
    npho: str | None = None,
    time: str | None = None,
    dead: str | None = None,
) -> BranchNames:
    """Choose the branches to read.

    Parameters
    ----------
    path, tree
        For messages.
    names
        Branches of the tree.
    npho, time
        Names asked for; None for detection.
    dead
        Name of the dead-channel branch to read, already known to exist; None for none.

    Raises
    ------
    InputError
        If a required branch is missing.
    """
    chosen = BranchNames(
        npho=_choose(path, tree, names, npho, NPHO_CANDIDATES, "--npho-branch"),
        time=_choose(path, tree, names, time, TIME_CANDIDATES, "--time-branch"),
        run="run" if "run" in names else None,
        event="event" if "event" in names else None,
        dead=dead,
    )
    logger.info(
        "%s: reading npho from '%s', time from '%s'%s",
        place(path, tree),
        chosen.npho,
        chosen.time,
        f", dead channels from '{dead}'" if dead else "",
    )
    for quantity, found, instead in (
        ("run", chosen.run, "the run list's number, or -1"),
        ("event", chosen.event, "the entry number"),
    ):
        if found is None:
            logger.warning("%s: no branch '%s'; %s is used", place(path, tree), quantity, instead)
    return chosen


def _choose(
    path: str,
    tree: str,
    names: Collection[str],
    asked: str | None,
    candidates: tuple[str, ...],
    option: str,
) -> str:
    wanted = (asked,) if asked is not None else candidates
    for name in wanted:
        if name in names:
            return name
    raise InputError(
        f"no branch {' or '.join(repr(name) for name in wanted)}",
        where=place(path, tree),
        fix=f"{nearest(wanted[0], names)} Choose with {option}.",
    )
