"""The outcome of every received event: counted once, and kept as a dead letter where losing it would lose information."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from monitor.counters import Counters
from monitor.events import Labels, Outcome, Predictions, Rejection, Schema, Stream
from monitor.join import OUTCOMES, PairCounts
from monitor.log import DeadLetter, Record

DEAD_LETTER_BYTES = 16 * 2**20
"""Bytes of dead letters kept a commit; what is beyond is counted like the others, and still in the source log."""

MISROUTED = len(OUTCOMES)
"""The code of the outcome that is decided before the join, beside the codes of `join.OUTCOMES`."""

_OUTCOMES = (*OUTCOMES, Outcome.MISROUTED)
_DEAD = (Outcome.UNDECODABLE, Outcome.UNKNOWN_MODEL, Outcome.INVALID, Outcome.BAD_TIME, Outcome.OUT_OF_ORDER, Outcome.MISROUTED)
_DEAD_CODES = [code for code, outcome in enumerate(_OUTCOMES) if outcome in _DEAD]


@dataclass(slots=True)
class Ledger:
    """One partition's outcomes. Law: a stream's counts in `counters.events` add up to the events that were received there.

    `partitions` is the log's number of them, for telling a misrouted row where it belongs.
    """

    schemas: tuple[Schema, ...]
    partitions: int
    counters: Counters
    _dead_letters: list[DeadLetter] = field(default_factory=list)
    _dead_bytes: int = 0

    def settle(self, stream: Stream, decoded: Predictions | Labels, records: Sequence[Record], outcome: npt.NDArray[np.int8]) -> None:
        """Counts what decoding rejected and what became of each of the n decoded rows.

        `records` are those that were decoded; `outcome` is (n,) codes of `join.OUTCOMES`, or `MISROUTED`.
        """
        counters = self.counters
        counters.unknown_keys[stream] += decoded.unknown_keys
        if len(decoded):
            newest = int(decoded.arrival.max())
            counters.newest[stream] = max(newest, counters.newest.get(stream, newest))
        # One key a row for (model, outcome); + 1, because the model of a label that names none is -1.
        found, counts = np.unique((decoded.model.astype(np.int64) + 1) * len(_OUTCOMES) + outcome, return_counts=True)
        for key, count in zip(found.tolist(), counts.tolist(), strict=True):
            model, code = divmod(key, len(_OUTCOMES))
            counters.events[stream, self._name(model - 1), _OUTCOMES[code]] += count
        for rejection in decoded.rejected:
            counters.events[stream, rejection.model, rejection.outcome] += 1
        dead = np.flatnonzero(np.isin(outcome, _DEAD_CODES)).tolist()
        self._bury(stream, records, (*decoded.rejected, *(self._rejection(decoded, row, _OUTCOMES[outcome[row]]) for row in dead)))

    def take_dead_letters(self) -> tuple[DeadLetter, ...]:
        """Those since the last call, up to `DEAD_LETTER_BYTES` of them."""
        taken = tuple(self._dead_letters)
        self._dead_letters, self._dead_bytes = [], 0
        return taken

    def _name(self, model: int) -> str:
        return self.schemas[model].name if model >= 0 else ""

    def _rejection(self, decoded: Predictions | Labels, row: int, outcome: Outcome) -> Rejection:
        match outcome:
            case Outcome.MISROUTED:
                home = int(decoded.id_partition[row]) % self.partitions
                advice = "let the producer partition by murmur2 of the id (librdkafka: partitioner=murmur2_random)"
                reason = f"its id belongs to partition {home}: {advice}"
            case Outcome.OUT_OF_ORDER:
                reason = "it arrived further behind the newest record of its log than log.out_of_order allows"
            case _:  # bad_time, the only other one among `_DEAD` that decoding leaves to the join
                reason = (
                    "its time is too far from its arrival: a prediction's lies from log.out_of_order before to 1 h after it, "
                    "a label's at most 1 h after it"
                )
        return Rejection(int(decoded.offset[row]), int(decoded.row[row]), outcome, self._name(int(decoded.model[row])), reason)

    def _bury(self, stream: Stream, records: Sequence[Record], rejected: Iterable[Rejection]) -> None:
        """Keeps the records of rejected events whole: one dead letter for each record, outcome and reason, with the rows concerned."""
        rows: dict[tuple[int, Outcome, str], list[int]] = {}
        for rejection in rejected:
            rows.setdefault((rejection.offset, rejection.outcome, rejection.reason), []).append(rejection.row)
        by_offset = {record.offset: record for record in records} if rows else {}
        for (offset, outcome, reason), places in rows.items():
            record = by_offset[offset]
            self._dead_bytes += len(record.value)
            if self._dead_bytes > DEAD_LETTER_BYTES:
                return
            letter = DeadLetter(stream, offset, record.timestamp, record.content_type, outcome, reason, tuple(places), record.value)
            self._dead_letters.append(letter)


def pairs_by_model(counts: PairCounts, schemas: Sequence[Schema]) -> dict[str, dict[str, int]]:
    """The join's counts by model name and fate; "" holds the orphans that name no model."""
    named = {
        schema.name: {count.name: int(getattr(counts, count.name)[index]) for count in fields(counts)}
        for index, schema in enumerate(schemas)
    }
    return named | {"": {"orphaned": int(counts.orphaned[-1])}}


def pairs_from_models(pairs: Mapping[str, Mapping[str, int]], schemas: Sequence[Schema]) -> PairCounts:
    """The inverse of `pairs_by_model`; models that are new count from 0."""
    counts = PairCounts.zero(len(schemas))
    for index, schema in enumerate(schemas):
        for fate, count in pairs.get(schema.name, {}).items():
            getattr(counts, fate)[index] = count
    counts.orphaned[-1] = pairs.get("", {}).get("orphaned", 0)
    return counts
