"""Which snapshots a partition has, which one is used, and which are removed.

A partition's files are written by its owner of the moment, and a former owner may not know yet that it is one: stopped for minutes in the
middle of a write or between two, it goes on where it was. So no two files ever share a name (`partition-P-SEQUENCE-OFFSETS-TAG.join`, the
tag is random), and a file is removed only when two others are newer in both senses of the word: written later (sequence), and of later
commits (offsets). An owner's offsets are never behind a former owner's, so nothing that one writes takes away the two newest of the other;
the owner's next two writes bring the number back to two.

The last written is tried first. Offsets would not do for that order: where a log was taken back to an earlier state, the files of the
history that is gone have the greater ones. Trying a former owner's file first costs only a longer replay.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from monitor.errors import SnapshotError
from monitor.events import SOURCES, Stream
from monitor.join import JoinTable
from monitor.snapshot.file import HEADER_LIMIT, Header, file_of
from monitor.snapshot.place import UNFINISHED, Place

KEPT: Final = 2
"""The older one is for the day when the newer turns out to be damaged."""

NAME: Final = re.compile(rf"partition-(\d+)-(\d+)-(\d+)-(\d+)-[0-9a-f]+\.join({re.escape(UNFINISHED)})?")


@dataclass(frozen=True, slots=True, order=True)
class _File:
    """What a name says; the greater, the later written."""

    sequence: int
    offsets: tuple[int, ...]
    """By `SOURCES`. Of two commits of a log the later one is behind in neither."""
    name: str
    is_whole: bool = field(compare=False)


class SnapshotStore:
    """The snapshots of any number of partitions in one place. `on_skip` is told of each file that was passed over, and why."""

    def __init__(self, place: Place, on_skip: Callable[[str, str], None]) -> None:
        self._place = place
        self._on_skip = on_skip

    @property
    def is_shared(self) -> bool:
        """Whether a replica that takes a partition over is known to find what its former owner wrote."""
        return self._place.is_shared

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable, rules_digest: str) -> str:
        """Saves the table as of `offsets` and removes what is superfluous then; returns the file's name.

        `rules_digest` stands for what the caller's codes mean (names of models, classes, segments), and for the log they came from.
        Raises `SnapshotError` if it cannot be written; nothing is lost by that, and the worker goes on.
        """
        try:
            files = self._files(partition)
            sequence = 1 + max((file.sequence for file in files if file.is_whole), default=0)
            own = tuple(offsets[stream] for stream in SOURCES)
            name = f"partition-{partition}-{sequence:010}-{'-'.join(map(str, own))}-{secrets.token_hex(4)}.join"
            self._place.write(name, file_of(partition, offsets, _rules(rules_digest, table), table))
        except OSError as error:
            raise SnapshotError(
                f"cannot write a snapshot of partition {partition} to {self._place}: {_said(error)}; {self._place.remedy} "
                "(until then a restart goes back to an older snapshot, or reads the logs again)"
            ) from error
        for file in _superfluous(files, _File(sequence, own, name, is_whole=True)):
            self._remove(file.name)
        return name

    def newest(
        self, partition: int, at_most: Mapping[Stream, int], rules_digest: str, empty: Callable[[], JoinTable]
    ) -> tuple[Mapping[Stream, int], JoinTable] | None:
        """The newest usable snapshot at or below the offsets `at_most`: its offsets, and what `empty` makes, filled from it.

        A file is checked to its last byte before any of it is loaded.
        """
        try:
            files = sorted((file for file in self._files(partition) if file.is_whole), reverse=True)
        except OSError as error:
            self._on_skip(str(self._place), f"cannot be read: {_said(error)}; {self._place.remedy}")
            return None
        for file in files:
            table = empty()
            try:
                header = Header.of(self._place.read(file.name, HEADER_LIMIT))
                header.check(partition, at_most, _rules(rules_digest, table))
                table.load(header.table_in(self._place.read(file.name)))
            except SnapshotError as error:
                self._on_skip(self._place.locate(file.name), str(error))
            except OSError as error:
                self._on_skip(self._place.locate(file.name), f"cannot be read: {_said(error)}")
            else:
                return header.offsets, table
        return None

    def _files(self, partition: int) -> list[_File]:
        matches = filter(None, map(NAME.fullmatch, self._place.names()))
        return [
            _File(int(match[2]), (int(match[3]), int(match[4])), match[0], is_whole=match[5] is None)
            for match in matches
            if int(match[1]) == partition
        ]

    def _remove(self, name: str) -> None:
        try:
            self._place.remove(name)
        except OSError as error:
            self._on_skip(self._place.locate(name), f"is no longer needed and cannot be removed: {_said(error)}; {self._place.remedy}")


def _superfluous(before: Sequence[_File], written: _File) -> Iterator[_File]:
    """Those of the files there were before that may go now.

    It does not matter that others may have come since: what two are newer than, two stay newer than. Whoever removed one of the two
    knew two newer ones still.
    """
    whole = [written, *(file for file in before if file.is_whole)]
    kept = {*sorted(whole)[-KEPT:], *sorted(whole, key=lambda file: (file.offsets, file.sequence))[-KEPT:]}
    yield from (file for file in whole if file not in kept)
    # An unfinished one that is being written now follows every whole one; what a crash left is caught up with.
    yield from (file for file in before if not file.is_whole and file.sequence < written.sequence)


def _rules(rules_digest: str, table: JoinTable) -> str:
    return f"{rules_digest}/{table.rules_digest}"


def _said(error: OSError) -> str:
    return error.strerror or str(error)
