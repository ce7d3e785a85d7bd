"""A round's stream: a story, some of it damaged, packed into records. The same seed and beginning give the same bytes."""

import random
from collections.abc import Iterator

from tests.faults.campaign.damage import SHARE_DAMAGED, SHARE_MISROUTED, SHARE_UNREADABLE, damaged, misrouted, unreadable
from tests.faults.campaign.packing import pack
from tests.faults.campaign.sent import Sent
from tests.faults.campaign.setting import Rules
from tests.faults.campaign.story import Event, Story


def stream(seed: int, models: tuple[Rules, ...], began: int, partitions: int, requests: int) -> list[Sent]:
    """Every record, in the order of sending. `began` is the event time of the first, milliseconds since the epoch."""
    draw = random.Random(f"stream {seed}")
    events = Story(draw, models, began, partitions, requests).events()
    records = [record for _, record in sorted(pack(draw, _troubled(draw, events, partitions)), key=lambda sent: sent[0])]
    return list(_interspersed(draw, records, partitions))


def _troubled(draw: random.Random, events: list[Event], partitions: int) -> Iterator[Event]:
    for event in events:
        kind = draw.random()
        if kind < SHARE_DAMAGED:
            yield damaged(draw, event)
        elif kind < SHARE_DAMAGED + SHARE_MISROUTED:
            yield misrouted(draw, event, partitions)
        else:
            yield event


def _interspersed(draw: random.Random, records: list[Sent], partitions: int) -> Iterator[Sent]:
    """With records that nobody can read between them."""
    for record in records:
        if draw.random() < SHARE_UNREADABLE:
            yield unreadable(draw, draw.choice(("predictions", "labels")), draw.randrange(partitions), record.timestamp)
        yield record
