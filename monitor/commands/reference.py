"""`reference build` counts files of rows into the profile that drift is measured against; `reference show` says what is in one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.commands.options import config_file
from monitor.errors import ConfigError, ReferenceFileError

if TYPE_CHECKING:
    from monitor.config import Model
    from monitor.reference.building import Advance

_model = click.option("--model", "name", metavar="NAME", help="The model, as the configuration names it.  [default: the only one]")
_version = click.option("--model-version", "version", default="", help="The version it is for.  [default: every version without its own]")


@click.group()
def command() -> None:
    """Build the profile that drift is measured against, or show one."""


@command.command()
@config_file
@_model
@_version
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.  [default: as `reference` says]"
)
@click.option("--from-log", is_flag=True, help="Read the log instead of files (not yet).")
@click.option("--since", metavar="TIME", help="With --from-log: only predictions from then on.")
@click.option("--until", metavar="TIME", help="With --from-log: only predictions before.")
def build(
    config: Path | None,
    name: str | None,
    version: str,
    paths: tuple[Path, ...],
    out: Path | None,
    from_log: bool,
    since: str | None,
    until: str | None,
) -> None:
    """Count rows of training or validation data (Parquet, CSV or JSON lines) into a reference profile.

    Columns: the model's features and, where there, `prediction`, `score` (of the positive class) or `score_CLASS`, and `label`. Others are
    left out. A model without features in the configuration gets those of the files.
    """
    if from_log or since or until:
        raise ReferenceFileError(
            "--from-log comes with a later release: export the events with `model-monitor log export`, join the labels to the predictions "
            "by id, and build the reference from that file"
        )
    if not paths:
        raise click.UsageError("Missing PATH: name the files with the rows, in Parquet, CSV or JSON lines.")
    from monitor.commands.schemas import schema_of
    from monitor.reference.building import Plan, build_reference
    from monitor.reference.file import save_reference
    from monitor.reference.sources import open_source
    from monitor.stats.delays import edges_up_to

    model = _find(config, name)
    target = out or _default(model, version, "with -o")
    plan = Plan(schema_of(model, None), version, model.segments, edges_up_to(model.horizon))
    sources = [open_source(path) for path in paths]
    with _progress(sum(path.stat().st_size for path in paths)) as advance:
        built = build_reference(plan, sources, advance)
    save_reference(built.reference, target)
    for note in built.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{target}: {built.reference.rows:,} rows, {len(built.reference.features)} features", err=True)


@command.command()
@config_file
@_model
@_version
@click.argument("path", required=False, type=click.Path(path_type=Path))
def show(config: Path | None, name: str | None, version: str, path: Path | None) -> None:
    """Say what a reference profile holds: a table on a terminal, a line a feature on a pipe.

    Without PATH it is the one that `reference` names in the configuration; where only versions have one, it is all of theirs.
    """
    from monitor.commands.schemas import schema_of
    from monitor.reference.file import load_reference
    from monitor.reference.paths import all_references, find_reference
    from monitor.reference.summary import print_summary, text_lines
    from monitor.stats.delays import edges_up_to

    model = _find(config, name)
    default = _default(model, version, "as PATH") if path is None else path
    found = path or find_reference(str(model.reference), version)
    shown = all_references(str(model.reference)) if found is None and not version else [found or default]
    if not shown:
        raise ReferenceFileError(f"{default}: there is no such reference profile; build it with `model-monitor reference build`")
    for file in shown:
        reference = load_reference(file, schema_of(model, None), edges_up_to(model.horizon))
        if sys.stdout.isatty():
            print_summary(reference, file)
        else:
            for line in text_lines(reference, file):
                click.echo(line)


def _find(config: Path | None, name: str | None) -> "Model":
    from monitor.config import load

    models = load(config, os.environ).models
    if name is None and len(models) == 1:
        return models[0]
    known = ", ".join(model.name for model in models)
    if name is None:
        raise ConfigError(f"--model: several models are configured; name one of {known}")
    found = next((model for model in models if model.name == name), None)
    if found is None:
        raise ConfigError(f"--model: no model {name!r} is configured; expected one of {known}")
    return found


def _default(model: "Model", version: str, otherwise: str) -> Path:
    from monitor.reference.paths import reference_path

    if model.reference is None:
        raise ConfigError(f"model {model.name}: reference: the configuration names no file; name it there, or {otherwise}")
    return reference_path(model.reference, version)


@contextmanager
def _progress(size: int) -> Iterator["Advance"]:
    """A bar over the bytes of all passes, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from monitor.reference.building import PASSES

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("choosing edges", total=PASSES * size)
        read = 0

        def advance(count: int) -> None:
            nonlocal read
            read += count
            progress.update(task, completed=read, description="choosing edges" if read < size else "counting")

        yield advance
