"""What the training commands have in common."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from xec_deploy.errors import MissingExtra
from xec_train.cli.combinations import check_combinations
from xec_train.cli.flags import COMMON_FLAGS, Flag, flag_overrides, with_flags
from xec_train.cli.greedy import repeat_greedy

__all__ = ["TrainCommand", "load", "train_command"]

COMMAND_LINE = "the command line"


class TrainCommand(click.Command):
    """A command that trains one kind of model.

    Options marked greedy take all values up to the next option: a pattern that the shell has
    expanded, as in ``--train-path data/*.root``, is many values.

    Parameters
    ----------
    config
        Name of the configuration's class in ``xec_train.config``.
    trainer
        ``"module:function"`` that takes the configuration and returns the best checkpoint.
    flags
        Options that stand for keys.
    last_checkpoint
        Name of the file in the folder of the results from which a training continues.
    """

    def __init__(
        self,
        *args: Any,
        config: str,
        trainer: str,
        flags: Sequence[Flag],
        last_checkpoint: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.last_checkpoint = last_checkpoint
        self.config = config
        self.trainer = trainer
        self.flags = tuple(flags)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of a greedy option before each of its values."""
        greedy = {name for flag in self.flags if flag.greedy for name in flag.names}
        return super().parse_args(ctx, repeat_greedy(ctx, args, greedy))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Describe the options with the words of the configuration."""
        flags = {flag.parameter: flag for flag in self.flags}
        for parameter in self.params:
            if isinstance(parameter, click.Option) and parameter.name in flags:
                flag = flags[parameter.name]
                parameter.help = f"{flag.text or self._description(flag.key)} [{flag.key}]".strip()
        super().format_options(ctx, formatter)

    def _description(self, key: str) -> str:
        """Return the description of a key, nothing where the configuration cannot be loaded."""
        try:
            places = _import("xec_train.config.places")
            text: str = places.describe_key(self.config_class(), key)
        except MissingExtra:
            return ""
        return text

    def config_class(self) -> Any:
        """Return the class of the configuration."""
        return getattr(_import("xec_train.config"), self.config)

    def trainer_function(self) -> Callable[[Any], Path]:
        """Return the function that trains and returns the path of the best checkpoint."""
        module, function = self.trainer.split(":")
        trainer: Callable[[Any], Path] = getattr(_import(module), function)
        return trainer


def train_command(
    name: str,
    *,
    config: str,
    trainer: str,
    flags: Sequence[Flag],
    last_checkpoint: str,
    example: str,
    text: str,
) -> TrainCommand:
    """Return the command that trains one kind of model."""
    flags = (*COMMON_FLAGS, *flags)

    @click.command(
        name,
        cls=TrainCommand,
        config=config,
        trainer=trainer,
        flags=flags,
        last_checkpoint=last_checkpoint,
        help=text,
        epilog=f"Example: {example}",
    )
    @click.option("--config", "path", metavar="FILE", help="YAML, or the name of a recipe.")
    @click.option(
        "--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Override any key."
    )
    @click.option("--print-config", is_flag=True, help="Print the configuration and stop.")
    @click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.")
    @with_flags(flags)
    @click.pass_context
    def command(ctx: click.Context, /, **parameters: Any) -> None:
        _log_to_user()
        loaded = load(ctx)
        if parameters["print_config"]:
            from xec_train.config import dump_config  # noqa: PLC0415 - loads torch

            click.echo(dump_config(loaded), nl=False)
            return
        assert isinstance(ctx.command, TrainCommand)  # noqa: S101 - it is this command's class
        _prepare(loaded, parameters["threads"])
        click.echo(f"best checkpoint: {ctx.command.trainer_function()(loaded)}")

    assert isinstance(command, TrainCommand)  # noqa: S101 - cls says so
    return command


def load(ctx: click.Context) -> Any:
    """Return the validated configuration of a parsed training command.

    Raises
    ------
    UsageError
        If a key, an option, or a combination of options makes no sense.
    """
    command = ctx.command
    assert isinstance(command, TrainCommand)  # noqa: S101 - the caller's business
    kind = command.config_class()
    config = _import("xec_train.config")
    flags = flag_overrides(command.flags, ctx)
    # The option of a key counts before --set, which is for keys without one.
    overrides = [*ctx.params["overrides"], *flags]
    path = ctx.params["path"]
    if path is None:
        loaded = config.build_config(kind, {}, overrides, COMMAND_LINE)
    else:
        loaded = config.load_config(kind, path, overrides)
    check_combinations(loaded, {flag.source for flag in flags})
    return loaded


def _prepare(config: Any, threads: int | None) -> None:
    torch = _import("torch")
    from xec_train.config.effects import without_effect  # noqa: PLC0415 - loads torch

    if threads:
        torch.set_num_threads(threads)
    gpu = config.training.accelerator != "cpu" and torch.cuda.is_available()
    idle = without_effect(config, gpu=gpu)
    if idle:
        logging.getLogger(__name__).warning("without effect here: %s", ", ".join(idle))


def _log_to_user() -> None:
    """Show notes of the training, of one process of many."""
    first = os.environ.get("RANK", "0") == "0"
    logging.getLogger("xec_train").setLevel(logging.INFO if first else logging.ERROR)


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("xec_"):
            raise
        raise MissingExtra(error.name or "torch", "train", needed_for="training") from error
