"""The command line: which commands there are, and how a run of one begins and ends.

A command's module is imported when it is the one that runs, so that `--help` and the daemon never pay for what they do not use.
"""

import sys
from importlib import import_module
from typing import Any, Final

import click

from monitor import __version__
from monitor.errors import MonitorError

COMMANDS: Final = {
    "demo": "Run the whole system on a year of real flights.",
    "serve": "Serve models, and take labels and predictions over HTTP.",
    "watch": "Join, count and show: the daemon behind /metrics.",
    "reference": "Build the profile that drift is measured against, or show one.",
    "log": "Move events between files and the log.",
    "events": "Print the JSON Schema of what producers send.",
    "config": "Check a configuration, or print its schema.",
    "catalogue": "Print every metric with its labels and meaning.",
    "model": "Manage what is kept about a model.",
    "topics": "Create or check the topics of a log on Kafka.",
    "group": "Manage the consumer group of a log on Kafka.",
}
"""Each is `monitor.commands.<name>`, whose `command` is a click command or group."""

EXTRAS: Final = {"demo": "demo,serving", "serve": "serving"}
"""What to install for the commands that need more than the base."""


class LazyCommands(click.Group):
    """Knows its commands by name, imports the one that is asked for, and shows explained errors without a traceback."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            module = import_module(f"monitor.commands.{cmd_name}")
        except ModuleNotFoundError as error:
            raise _not_installed(cmd_name, error) from error
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's signature
        try:
            return super().invoke(ctx)
        except MonitorError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            raise _not_installed(str(ctx.invoked_subcommand), error) from error


def _not_installed(command: str, error: ModuleNotFoundError) -> Exception:
    """What a missing package means to the user; a missing module of our own is a bug and stays what it is."""
    if command not in EXTRAS or (error.name or "monitor").partition(".")[0] == "monitor":
        return error
    remedy = f"install it with: pip install 'model-monitor[{EXTRAS[command]}]'"
    return click.ClickException(f"{command} needs the package {error.name}, which is not installed; {remedy}")


@click.group(
    cls=LazyCommands,
    commands=[click.Command(name) for name in COMMANDS],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, message="model-monitor %(version)s")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    envvar="MODEL_MONITOR_LOG_LEVEL",
    show_envvar=True,
    help="The least that is logged, on stderr.",
)
def cli(log_level: str) -> None:
    """Watches models in production: joins predictions with late labels and tells when quality or inputs change."""
    from monitor.logs import configure

    configure(log_level, sys.stderr)


def main() -> None:
    """What `model-monitor` and `python -m monitor` run."""
    if sys.platform == "win32":
        sys.exit("model-monitor runs on Linux and macOS; on Windows, use it in WSL 2 or in a container")
    cli(prog_name="model-monitor")
