"""What a partition remembers beside its panes and join table: counts, dictionaries, watermarks. Committed with them, as text.

Everything here is a function of the logs up to the committed offsets, so it neither loses a count in a crash nor counts one twice.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

from monitor.errors import LogError
from monitor.events import Outcome, Stream

_FORMAT = 1


@dataclass(slots=True)
class Span:
    """First and last time of something, in milliseconds."""

    first: int
    last: int

    def reach(self, first: int, last: int) -> None:
        self.first = min(self.first, first)
        self.last = max(self.last, last)


@dataclass(slots=True)
class Counters:
    """`events` by (stream, model, outcome); `unknown_keys` by stream; `predictions` the times of each (model, version)'s accepted ones;
    `labels` the arrivals of each model's accepted labels; `newest` the greatest arrival of an event (not of a time mark) by stream;
    `watermarks` of the join by stream; `segments` the kept values by model and dimension; `versions` in the order of their codes; `pairs`
    the join's counts by model ("" for labels that name none) and fate.
    """

    events: Counter[tuple[Stream, str, Outcome]] = field(default_factory=Counter)
    unknown_keys: Counter[Stream] = field(default_factory=Counter)
    predictions: dict[tuple[str, str], Span] = field(default_factory=dict)
    labels: dict[str, Span] = field(default_factory=dict)
    newest: dict[Stream, int] = field(default_factory=dict)
    watermarks: dict[Stream, int] = field(default_factory=dict)
    segments: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    versions: list[tuple[str, str]] = field(default_factory=list)
    pairs: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Readable JSON."""
        return json.dumps(
            {
                "format": _FORMAT,
                "events": [[*key, count] for key, count in sorted(self.events.items())],
                "unknown_keys": dict(self.unknown_keys),
                "predictions": [[*key, span.first, span.last] for key, span in self.predictions.items()],
                "labels": {model: [span.first, span.last] for model, span in self.labels.items()},
                "newest": self.newest,
                "watermarks": self.watermarks,
                "segments": self.segments,
                "versions": self.versions,
                "pairs": self.pairs,
            }
        ).encode()

    @classmethod
    def from_bytes(cls, state: bytes) -> "Counters":
        """The inverse; empty bytes are a partition that never committed. Raises `LogError` on anything else."""
        if not state:
            return cls()
        try:
            document = json.loads(state)
            if document["format"] != _FORMAT:
                raise LogError(
                    f"committed state of format {document['format']}, expected {_FORMAT}: run the version that wrote it, or start a new log"
                )
            return cls(
                events=Counter({(Stream(stream), model, Outcome(outcome)): count for stream, model, outcome, count in document["events"]}),
                unknown_keys=Counter({Stream(stream): count for stream, count in document["unknown_keys"].items()}),
                predictions={(model, version): Span(first, last) for model, version, first, last in document["predictions"]},
                labels={model: Span(*span) for model, span in document["labels"].items()},
                newest={Stream(stream): time for stream, time in document["newest"].items()},
                watermarks={Stream(stream): time for stream, time in document["watermarks"].items()},
                segments=document["segments"],
                versions=[(model, version) for model, version in document["versions"]],
                pairs=document["pairs"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogError(
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
        self.pairs.pop(model, None)
