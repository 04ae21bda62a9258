"""Where commands print tables."""

from __future__ import annotations

import sys

from rich.console import Console

__all__ = ["output_console"]

PIPE_WIDTH = 240


def output_console() -> Console:
    """Return a console as wide as the terminal, or wide enough not to wrap rows in a pipe."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(highlight=False, soft_wrap=True, width=width)
