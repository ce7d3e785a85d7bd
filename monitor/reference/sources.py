"""Files of rows, read in blocks of bounded size: Parquet, CSV and JSONL, told by the suffix.

A block is columns of `Cells`, so that from here on a value means what it means in an event. Knows which columns are wanted, not what for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from monitor.codec.cells import Cells, is_readable
from monitor.errors import ReferenceFileError
from monitor.events import FeatureKind

BLOCK_ROWS: Final = 65_536
CSV_BLOCK_BYTES: Final = 8 * 1024 * 1024
JSONL_BLOCK_BYTES: Final = 16 * 1024 * 1024
_PARQUET_BUFFER_BYTES: Final = 1024 * 1024
_SUFFIXES: Final = ".parquet, .csv or .jsonl"


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a file. `size` is about how many of the file's bytes they took."""

    rows: int
    cells: Mapping[str, Cells]
    size: int

    def column(self, name: str) -> Cells:
        """A column's cells; those of a column that the file lacks are all absent."""
        return self.cells.get(name) or Cells(self.rows)


class Source(Protocol):
    """A file of rows, readable several times."""

    @property
    def path(self) -> Path: ...

    @property
    def columns(self) -> Mapping[str, FeatureKind]:
        """Its columns, numeric where they hold numbers or booleans. CSV and JSONL are judged by their first block."""
        ...

    def blocks(self, wanted: Mapping[str, FeatureKind]) -> Iterator[Block]:
        """Its rows, in order, with those of the wanted columns that it has. Raises `ReferenceFileError` where it cannot go on."""
        ...


def open_source(path: Path) -> Source:
    """The file as rows. Raises `ReferenceFileError` for what is no readable file of a known kind."""
    if path.is_dir():
        raise ReferenceFileError(f"{path}: a folder; name the files in it, for example {path}/*.parquet")
    if not path.exists():
        raise ReferenceFileError(f"{path}: there is no such file; expected rows in {_SUFFIXES}")
    match path.suffix.lower():
        case ".parquet" | ".pq":
            return ParquetSource(path)
        case ".csv":
            return CsvSource(path)
        case ".jsonl" | ".ndjson":
            return JsonLinesSource(path)
        case suffix:
            raise ReferenceFileError(f'{path}: cannot tell what it holds by the suffix "{suffix}"; expected {_SUFFIXES}')


class ParquetSource:
    """Typed columns. Read page by page: a row group may be larger than memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path), pq.ParquetFile(path) as file:
            self._rows = file.metadata.num_rows
            self.columns = {field.name: _kind(field.type) for field in file.schema_arrow}

    def blocks(self, wanted: Mapping[str, FeatureKind]) -> Iterator[Block]:
        names = [name for name in self.columns if name in wanted]
        row_size = self.path.stat().st_size / max(1, self._rows)
        with _explained(self.path), pq.ParquetFile(self.path, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES) as file:
            for batch in file.iter_batches(BLOCK_ROWS, columns=names):
                cells = {name: _cells(self.path, name, batch.column(name)) for name in names}
                yield Block(batch.num_rows, cells, round(batch.num_rows * row_size))


class CsvSource:
    """Text throughout. An empty field is absent; numbers are what reads as one, in columns that are wanted as numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path), self._open(pacsv.ConvertOptions()) as reader:
            self.columns = {field.name: _kind(field.type) for field in reader.schema}
            if len(self.columns) != len(reader.schema):
                raise ReferenceFileError(f"{path}: two columns of its header have the same name; rename one")

    def blocks(self, wanted: Mapping[str, FeatureKind]) -> Iterator[Block]:
        names = [name for name in self.columns if name in wanted]
        types = dict.fromkeys(names, pa.string())
        options = pacsv.ConvertOptions(column_types=types, include_columns=names, null_values=[""], strings_can_be_null=True)
        size = self.path.stat().st_size
        with _explained(self.path), self._open(options) as reader:
            for batch in reader:
                cells = {}
                for name in names:
                    texts = batch.column(name)
                    cells[name] = numbers_in(texts) if wanted[name] is FeatureKind.NUMERIC else Cells(len(texts), texts=texts)
                part = min(size, CSV_BLOCK_BYTES)
                size -= part
                yield Block(batch.num_rows, cells, part)

    def _open(self, convert: pacsv.ConvertOptions) -> pacsv.CSVStreamingReader:
        return pacsv.open_csv(
            self.path,
            read_options=pacsv.ReadOptions(block_size=CSV_BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=convert,
        )


class JsonLinesSource:
    """An object a line; a key that a line lacks is absent there. Blank lines are skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(self._objects(), ([], 0))[0]
        names = dict.fromkeys(key for row in first for key in row)
        self.columns = {name: _kind_of_values([row.get(name) for row in first]) for name in names}

    def blocks(self, wanted: Mapping[str, FeatureKind]) -> Iterator[Block]:
        for rows, size in self._objects():
            yield Block(len(rows), {name: Cells.of_values([row.get(name) for row in rows]) for name in wanted}, size)

    def _objects(self) -> Iterator[tuple[list[dict[str, object]], int]]:
        before = 0
        with _explained(self.path), self.path.open("rb") as file:
            while lines := file.readlines(JSONL_BLOCK_BYTES):
                rows: list[dict[str, object]] = []
                for number, line in enumerate(lines, start=before + 1):
                    if not line.isspace():
                        rows.append(self._object(line, number))
                before += len(lines)
                yield rows, sum(map(len, lines))

    def _object(self, line: bytes, number: int) -> dict[str, object]:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ReferenceFileError(f"{self.path}: line {number}: not JSON: {error}; expected an object a line") from error
        if type(row) is not dict:
            raise ReferenceFileError(f'{self.path}: line {number}: expected an object with a key a column, such as {{"distance": 229}}')
        return row


_ABSENT_NUMBERS: Final = frozenset({"", "na", "n/a", "null", "none"})
_NUMBER: Final = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE)
_FLAGS: Final = {"true": 1.0, "false": 0.0}


def numbers_in(texts: pa.Array) -> Cells:
    """Text (n,) as the numbers it spells; true and false are 1 and 0, NA and its like are absent, other text stays text."""
    try:
        return Cells(len(texts), floats=texts.cast(pa.float64()))
    except pa.ArrowInvalid:  # some field is none, or is spelled in a way that Arrow does not read
        encoded = texts.dictionary_encode()
    spelled: list[str | None] = encoded.dictionary.to_pylist()
    numbers = [None if text is None else _number(text) for text in spelled]
    absent = [text is None or text.strip().lower() in _ABSENT_NUMBERS for text in spelled]
    others = [None if number is not None or nothing else text for text, number, nothing in zip(spelled, numbers, absent, strict=True)]
    return Cells(
        len(texts),
        texts=pa.array(others, pa.string()).take(encoded.indices),
        floats=pa.array(numbers, pa.float64()).take(encoded.indices),
    )


def _number(text: str) -> float | None:
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    return _FLAGS.get(stripped.lower())


def _kind(kind: pa.DataType) -> FeatureKind:
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind)
    return FeatureKind.NUMERIC if numeric else FeatureKind.CATEGORICAL


def _kind_of_values(values: Sequence[object]) -> FeatureKind:
    """Numeric where every value there is is a number or a boolean."""
    kinds = {type(value) for value in values if value is not None}
    return FeatureKind.NUMERIC if kinds and kinds <= {int, float, bool} else FeatureKind.CATEGORICAL


def _cells(path: Path, name: str, column: pa.Array) -> Cells:
    kind = column.type
    if pa.types.is_dictionary(kind) and not is_readable(kind):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if not is_readable(column.type):
        raise ReferenceFileError(
            f"{path}: column {name} has the type {kind}; expected numbers, booleans or text: convert it, or leave it out of the features"
        )
    return Cells.of_arrow(column)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what Arrow and the file system say into what file it is about."""
    try:
        yield
    except pa.ArrowException as error:
        raise ReferenceFileError(f"{path}: cannot be read as {path.suffix.lstrip('.')}: {error}") from error
    except OSError as error:
        raise ReferenceFileError(f"{path}: cannot be read: {error.strerror or error}") from error
