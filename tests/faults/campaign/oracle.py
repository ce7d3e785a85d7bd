"""What a fleet has to show once it has read everything: from the JSON lines of what was sent, event by event, nothing ever forgotten.

Plain dictionaries, and no code shared with `monitor`. `Truth.of` follows the rules of the join as its documentation states them; what
`Truth.series` gives are exposed counts, by name and labels as `/metrics` has them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.campaign.murmur2 import partition_of
from tests.faults.campaign.reading import Label, Prediction, Reader, Refused
from tests.faults.campaign.sent import Sent
from tests.faults.campaign.setting import EARLY, OUT_OF_ORDER, TOLERANCE, Rules

NEVER = -(10**15)
FATES = ("joined", "replaced", "repeated", "late", "conflict", "differing", "orphaned")
DEAD = ("undecodable", "unknown_model", "invalid", "bad_time", "out_of_order", "misrouted")

DeadRow = tuple[str, int, int, int, str]
"""An event that is kept as a dead letter: stream, partition, offset and row, and the outcome."""

SeriesKey = tuple[str, frozenset[tuple[str, str]]]
"""A series without the prefix of its name, its labels without the empty ones."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An accepted label with the labels' watermark at it."""

    label: Label
    watermark: int


@dataclass(frozen=True, slots=True)
class Pair:
    prediction: Prediction
    actual: str
    label_arrival: int


@dataclass(slots=True)
class Partition:
    """What was accepted in one partition."""

    kept: list[Prediction] = field(default_factory=list)
    heard: dict[str, list[Heard]] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Truth:
    """Everything that follows from what was sent."""

    models: Mapping[str, Rules]
    events: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    """By stream, partition, model ("" unknown) and outcome."""
    unknown_keys: Mapping[tuple[str, int], int] = field(default_factory=dict)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Pairs and rows by model and fate."""
    pending: Counter[str] = field(default_factory=Counter)
    kept: list[Prediction] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    watermarks: dict[tuple[str, int], int] = field(default_factory=dict)
    last_labels: dict[str, int] = field(default_factory=dict)
    newest: int = NEVER
    """The greatest arrival of a decoded event: what the readings take for now."""
    dead: Counter[DeadRow] = field(default_factory=Counter)

    @classmethod
    def of(cls, records: Iterable[Sent], models: Sequence[Rules], partitions: int) -> "Truth":
        truth = cls({rules.name: rules for rules in models})
        reader = Reader(models)
        places = [Partition() for _ in range(partitions)]
        latest: dict[tuple[str, str, str], Prediction] = {}
        offsets: Counter[tuple[str, int]] = Counter()
        for record in records:
            place = places[record.partition]
            offset = offsets[record.stream, record.partition]
            offsets[record.stream, record.partition] += 1
            for row, event in enumerate(reader.events(record)):
                if isinstance(event, Refused):
                    outcome, model = event.outcome, event.model
                else:
                    model = event.model
                    truth.newest = max(truth.newest, event.arrival)
                    if partition_of(event.id, partitions) != record.partition:
                        outcome = "misrouted"
                    elif isinstance(event, Prediction):
                        outcome = truth._take_prediction(place, event, latest)
                    else:
                        outcome = truth._take_label(place, event)
                truth.events[record.stream, record.partition, model, outcome] += 1
                if outcome in DEAD:
                    truth.dead[record.stream, record.partition, offset, row, outcome] += 1
        truth.unknown_keys = reader.unknown_keys
        for number, place in enumerate(places):
            truth.watermarks |= {(stream, number): mark for stream, mark in place.watermarks.items()}
            truth._join(place)
        return truth

    def _take_prediction(self, place: Partition, row: Prediction, latest: dict[tuple[str, str, str], Prediction]) -> str:
        watermark = place.watermarks["predictions"] = max(place.watermarks.get("predictions", NEVER), row.arrival)
        if row.arrival < watermark - OUT_OF_ORDER:
            return "out_of_order"
        if not -TOLERANCE <= row.arrival - row.time <= OUT_OF_ORDER:
            return "bad_time"
        identity = (row.id, row.model, row.version)
        first = latest.get(identity)
        if first is not None and watermark <= first.time + self.models[row.model].horizon + OUT_OF_ORDER:
            self.fates[row.model, "differing"] += first.content != row.content
            return "duplicate"
        latest[identity] = row
        place.kept.append(row)
        return "accepted"

    def _take_label(self, place: Partition, row: Label) -> str:
        watermark = place.watermarks["labels"] = max(place.watermarks.get("labels", NEVER), row.arrival)
        if row.arrival < watermark - OUT_OF_ORDER:
            return "out_of_order"
        if row.time > row.arrival + TOLERANCE:
            return "bad_time"
        place.heard.setdefault(row.id, []).append(Heard(row, watermark))
        self.last_labels[row.model] = max(self.last_labels.get(row.model, NEVER), row.arrival)
        return "accepted"

    def _join(self, place: Partition) -> None:
        """Each prediction takes one of the labels that are on time for it."""
        self.kept += place.kept
        met: set[int] = set()
        predictions_passed = place.watermarks.get("predictions", NEVER)
        both_passed = min(predictions_passed, place.watermarks.get("labels", NEVER))
        for prediction in place.kept:
            rules = self.models[prediction.model]
            expiry = prediction.time + rules.horizon + OUT_OF_ORDER
            on_time: list[Label] = []
            for heard in place.heard.get(prediction.id, ()):
                label = heard.label
                if label.model not in ("", prediction.model) or label.value not in rules.classes:
                    continue
                delay = label.arrival - prediction.time
                if -EARLY <= delay <= rules.horizon:
                    on_time.append(label)
                    met.add(id(heard))
                elif delay > rules.horizon and heard.watermark <= expiry:
                    self.fates[prediction.model, "late"] += 1
                    met.add(id(heard))
            if on_time:
                self._settle(prediction, on_time, rules)
            elif both_passed <= expiry:
                self.pending[prediction.model] += 1
        for heard in (heard for of_id in place.heard.values() for heard in of_id):
            if id(heard) not in met and predictions_passed > heard.label.arrival + EARLY + 2 * OUT_OF_ORDER:
                self.fates[heard.label.model, "orphaned"] += 1

    def _settle(self, prediction: Prediction, on_time: Sequence[Label], rules: Rules) -> None:
        """Which of the labels on time is the actual, and what the others are."""
        if rules.corrections == "conflict" and len({label.value for label in on_time}) > 1:
            self.fates[rules.name, "conflict"] += 1
            return
        choose = min if rules.corrections == "first_wins" else max
        winner = choose(on_time, key=lambda label: (label.time, label.arrival, label.value))
        agreeing = sum(label.value == winner.value for label in on_time)
        self.fates[rules.name, "joined"] += 1
        self.fates[rules.name, "repeated"] += agreeing - 1
        self.fates[rules.name, "replaced"] += len(on_time) - agreeing
        self.pairs.append(Pair(prediction, winner.value, winner.arrival))
