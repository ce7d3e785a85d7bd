"""What a partition remembers beside its panes and join table: counts, dictionaries, watermarks. Committed with them, as text.

Everything here is a function of the logs up to the committed offsets, so it neither loses a count in a crash nor counts one twice.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

from monitor.clock import Milliseconds
from monitor.errors import LogDamaged
from monitor.events import Outcome, Stream

_FORMAT = 1


@dataclass(slots=True)
class Seen:
    """The first and the last time of something, milliseconds since the epoch."""

    first: Milliseconds
    last: Milliseconds

    def reach(self, first: Milliseconds, last: Milliseconds) -> None:
        """Widens to these times, if they lie outside."""
        self.first = min(self.first, first)
        self.last = max(self.last, last)


@dataclass(slots=True)
class Counters:
    """One partition's counts and dictionaries. Law: `from_bytes(counters.to_bytes())` equals `counters`."""

    events: Counter[tuple[Stream, str, Outcome]] = field(default_factory=Counter)
    """Received events by stream, model ("" where unknown) and outcome."""
    unknown_keys: Counter[Stream] = field(default_factory=Counter)
    """Keys of events that no schema names."""
    predictions: dict[tuple[str, str], Seen] = field(default_factory=dict)
    """The times of the predictions counted, by model and version."""
    labels: dict[str, Seen] = field(default_factory=dict)
    """The arrivals of the accepted labels, by model ("" for those that name none)."""
    newest: dict[Stream, Milliseconds] = field(default_factory=dict)
    """The greatest arrival of an event; unlike `watermarks` it does not move with a time mark."""
    watermarks: dict[Stream, Milliseconds] = field(default_factory=dict)
    """The join's."""
    segments: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """The kept values by model and dimension, in the order of their codes."""
    versions: list[tuple[str, str]] = field(default_factory=list)
    """Model and version, in the order of their codes."""
    outcomes: dict[str, dict[str, Milliseconds]] = field(default_factory=dict)
    """Since which arrival labels count, by model and part of its configuration (`monitor.beginnings`)."""
    pairs: dict[str, dict[str, int]] = field(default_factory=dict)
    """The join's counts by model ("" for labels that name none) and fate (the fields of `join.PairCounts`)."""
    pending: dict[str, int] = field(default_factory=dict)
    """Predictions that wait for their label, by model."""

    def saw_predictions(self, identity: tuple[str, str], first: Milliseconds, last: Milliseconds) -> None:
        """Predictions of a model and version were counted, the earliest of them made at `first` and the latest at `last`."""
        self.predictions.setdefault(identity, Seen(first, last)).reach(first, last)

    def saw_labels(self, model: str, first: Milliseconds, last: Milliseconds) -> None:
        """Labels were accepted, the earliest of them arrived at `first` and the latest at `last`."""
        self.labels.setdefault(model, Seen(first, last)).reach(first, last)

    def to_bytes(self) -> bytes:
        """Readable JSON."""
        return json.dumps(
            {
                "format": _FORMAT,
                "events": [[*key, count] for key, count in sorted(self.events.items())],
                "unknown_keys": dict(self.unknown_keys),
                "predictions": [[*key, seen.first, seen.last] for key, seen in self.predictions.items()],
                "labels": {model: [seen.first, seen.last] for model, seen in self.labels.items()},
                "newest": self.newest,
                "watermarks": self.watermarks,
                "segments": self.segments,
                "versions": self.versions,
                "outcomes": self.outcomes,
                "pairs": self.pairs,
                "pending": self.pending,
            }
        ).encode()

    @classmethod
    def from_bytes(cls, state: bytes) -> "Counters":
        """The inverse; empty bytes are a partition that never committed. Raises `LogDamaged` on anything else."""
        if not state:
            return cls()
        try:
            document = json.loads(state)
            if document["format"] != _FORMAT:
                raise LogDamaged(
                    f"committed state of format {document['format']}, expected {_FORMAT}: run the version that wrote it, or start a new log"
                )
            return cls(
                events=Counter({(Stream(stream), model, Outcome(outcome)): count for stream, model, outcome, count in document["events"]}),
                unknown_keys=Counter({Stream(stream): count for stream, count in document["unknown_keys"].items()}),
                predictions={(model, version): Seen(first, last) for model, version, first, last in document["predictions"]},
                labels={model: Seen(*seen) for model, seen in document["labels"].items()},
                newest={Stream(stream): time for stream, time in document["newest"].items()},
                watermarks={Stream(stream): time for stream, time in document["watermarks"].items()},
                segments=document["segments"],
                versions=[(model, version) for model, version in document["versions"]],
                outcomes=document["outcomes"],
                pairs=document["pairs"],
                pending=document.get("pending", {}),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogDamaged(
                f"the committed state of a partition is corrupt ({error}): restore the log from a copy, or start a new one"
            ) from error

    def forget(self, model: str) -> None:
        """Removes what a model that is gone for good left. The codes of its versions stay taken."""
        for key in [key for key in self.events if key[1] == model]:
            del self.events[key]
        for identity in [identity for identity in self.predictions if identity[0] == model]:
            del self.predictions[identity]
        self.labels.pop(model, None)
        self.segments.pop(model, None)
        self.outcomes.pop(model, None)
        self.pairs.pop(model, None)
        self.pending.pop(model, None)
