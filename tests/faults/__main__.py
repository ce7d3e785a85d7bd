"""The fault campaign at length: `python -m tests.faults --rounds 200 --seed 1`. Each round has the next seed; one alone repeats with it."""

import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path

import click

from tests.faults.campaign.rounds import BROKERS, Report, Round, Size
from tests.kafka.brokers import Cluster


@click.command()
@click.option("--rounds", default=10, show_default=True, help="How many.")
@click.option("--seed", default=1, show_default=True, help="Of the first round.")
@click.option("--jobs", default=1, show_default=True, help="Rounds at a time, on one cluster; most of a round is waiting.")
@click.option("--kind", type=click.Choice(["kafka", "embedded"]), default="kafka", show_default=True, help="Of log.")
@click.option("--brokers", default=1, show_default=True, help="In the cluster that the campaign starts.")
@click.option("--requests", default=Size().requests, show_default=True, help="Of the generated stream, a round; each is about four events.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Where the folders of failed rounds stay.")
@click.option("--keep-all", is_flag=True, help="Those of green rounds stay too.")
def main(rounds: int, seed: int, jobs: int, kind: str, brokers: int, requests: int, keep: Path | None, keep_all: bool) -> None:
    """Plays rounds and tells of each; ends with 1 if any failed."""
    folder = keep or Path(tempfile.mkdtemp(prefix="campaign-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with Cluster(brokers, properties=BROKERS) if kind == "kafka" else nullcontext() as cluster, ThreadPoolExecutor(jobs) as pool:

        def play(number: int) -> Report:
            place = folder / f"seed-{number}-{time.strftime('%H%M%S')}"
            try:
                return Round(number, place, cluster, Size(requests=requests), brokers=brokers, keeps_all=keep_all).play()
            except Exception:  # noqa: BLE001  # the other rounds go on, and this one is told of
                broken = f"the round itself broke, which is the campaign's own fault:\n{traceback.format_exc()}"
                return Report(number, place, (), (broken,), 0, 0, 0.0)

        failed = []
        for playing in as_completed([pool.submit(play, number) for number in range(seed, seed + rounds)]):
            report = playing.result()
            click.echo("\n".join(report.lines()))
            failed += [report.seed] * bool(report.problems)
    minutes = (time.monotonic() - began) / 60
    click.echo(f"{rounds - len(failed)} of {rounds} rounds green in {minutes:.1f} min" + (f"; failed: {sorted(failed)}" if failed else ""))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
