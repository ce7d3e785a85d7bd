"""`events schema` prints what predictions and labels look like, for producers in any language."""

import click


@click.group()
def command() -> None:
    """Show what producers send."""


@command.command()
@click.argument("stream", type=click.Choice(["predictions", "labels"]))
def schema(stream: str) -> None:
    """Print the JSON Schema (draft 2020-12) of predictions or labels, version 1.

    deploy/events holds both, and what a record is beside its value: key, partition, headers, Arrow columns.
    """
    from monitor.codec.json_schema import as_text
    from monitor.events import Stream

    click.echo(as_text(Stream(stream)), nl=False)
