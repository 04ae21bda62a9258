"""The frame of both command lines: lazy commands, errors as sentences, exit codes."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from xec_deploy.errors import ExitCode, XecError, nearest

__all__ = ["INTERNAL_ERROR", "LazyGroup", "run"]

INTERNAL_ERROR = 1
"""Exit code of a defect of the program itself, which the contract's codes do not cover."""


class LazyGroup(click.Group):
    """A group whose commands are imported when used, so that ``--help`` does not load engines.

    ``lazy`` maps a command name to ``"module:attribute"`` and a one-line help text.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in their documented order."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, attribute = self.lazy[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table is ours
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, with a suggestion for an unknown one."""
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}. {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


class Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way swallows it."""


def run(group: click.Group, program: str) -> NoReturn:
    """Run a command line and exit with the contract's code; no traceback without ``--debug``."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    _configure_logging(debug=debug)
    signal.signal(signal.SIGTERM, _terminate)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        result = group.main(arguments, prog_name=program, standalone_mode=False)
        code = int(result) if isinstance(result, int) else int(ExitCode.DONE)
    except XecError as error:
        if debug:
            raise
        errors.print(f"[bold red]error:[/] {escape(str(error))}")
        code = int(error.exit_code)
    except click.ClickException as error:
        error.show()
        code = int(ExitCode.UNUSABLE)
    except (KeyboardInterrupt, click.Abort, Terminated):
        errors.print("[bold red]stopped:[/] finished files are complete; run again to continue")
        code = int(ExitCode.PARTIAL)
    except OSError as error:
        # A full disk, a missing permission, a file where a folder should be: the user's to mend.
        if debug:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        errors.print(f"[bold red]error:[/] {escape(f'{where}{error.strerror or error}')}.")
        code = int(ExitCode.UNUSABLE)
    except Exception as error:
        if debug:
            raise
        errors.print(
            f"[bold red]internal error:[/] {escape(f'{type(error).__name__}: {error}')}\n"
            "This is a defect of the program. Run again with --debug and report the traceback."
        )
        code = INTERNAL_ERROR
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise Terminated


def _configure_logging(*, debug: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(message)s",
        handlers=[_LineHandler()],
    )
    if debug:
        # The package's own debugging, not that of every library underneath.
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger("xec_deploy").setLevel(logging.DEBUG)


class _LineHandler(logging.Handler):
    """One line a message, never wrapped.

    A path broken over two lines can be neither copied nor searched for in a job's log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        style = "bold red" if record.levelno >= logging.ERROR else "yellow"
        level = (f"{record.levelname.lower()}: ", style)
        self._console.print(Text.assemble(level, self.format(record)))
