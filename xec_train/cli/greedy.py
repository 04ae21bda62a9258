"""Options that take all values up to the next option, as patterns the shell has expanded."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click

__all__ = ["GreedyCommand", "repeat_greedy"]


def repeat_greedy(ctx: click.Context, args: list[str], greedy: Collection[str]) -> list[str]:
    """Repeat the name of a greedy option before each of its values.

    ``--data a b -o c`` becomes ``--data a --data b -o c``.
    """
    normalise = ctx.token_normalize_func or str
    repeated: list[str] = []
    current, complete = "", True
    for token in args:
        if token.startswith("-"):
            name, separator, _ = token.partition("=")
            current = normalise(name) if normalise(name) in greedy else ""
            complete = bool(separator)
        elif current and complete:
            repeated.append(current)
        else:
            complete = True
        repeated.append(token)
    return repeated


class GreedyCommand(click.Command):
    """A command some of whose (multiple) options are greedy.

    Parameters
    ----------
    greedy
        Names of these options.
    """

    def __init__(self, *args: Any, greedy: Collection[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.greedy = frozenset(greedy)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse after repeating the names of greedy options."""
        return super().parse_args(ctx, repeat_greedy(ctx, args, self.greedy))
