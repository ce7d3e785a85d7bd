"""`demo`: the whole system on a year of real flights, or only the load against a server elsewhere."""

import signal
from datetime import datetime
from pathlib import Path

import click

INTERRUPTED_EXIT_CODE = 130
"""What shells expect after Ctrl-C."""


@click.command()
@click.option("--once", is_flag=True, help="End with the stream: print the readings by month and exit.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model-monitor-demo"),
    show_default=True,
    help="Where model, log and configuration go; a trained model found there is used again.",
)
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), help="Days of flights per second.  [default: as fast as the machine allows]"
)
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), help="Send only flights scheduled before this date (00:00 UTC), and all of their labels."
)
@click.option(
    "--kafka",
    metavar="HOST:PORT",
    help="Run on this Apache Kafka instead of the embedded log, on topics of its own (model-monitor-demo-*), made anew each time.",
)
@click.option("--target", metavar="URL", help="Only send the load, to a server that runs elsewhere and has serving.trust_client_times on.")
def command(*, once: bool, folder: Path, speed: float | None, until: datetime | None, kafka: str | None, target: str | None) -> None:
    """Run the whole system on the flights that left New York in 2013, and watch a model go stale.

    Trains a model on January and February, starts `serve` and `watch`, and sends March to December through the front door, each
    label when its flight really landed. Then prints the readings by month, and stays up until Ctrl-C.
    """
    if kafka is not None and target is not None:
        raise click.UsageError("--kafka and --target exclude each other: a server that runs elsewhere has a log already.")
    from rich.console import Console

    from monitor.commands.opening import connection_of
    from monitor.demo.connection import Server
    from monitor.demo.run import Options, run, send_only

    # SIGTERM stops it as Ctrl-C does; a shell that starts it in the background would have it ignore both.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    options = Options(folder, once, speed, until.date() if until else None, kafka)
    console = Console(stderr=True)
    try:
        if target is not None:
            send_only(options, Server.of(target), console)
        else:
            run(options, console, connection_of)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED_EXIT_CODE) from None
