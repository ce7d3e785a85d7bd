"""Files of rows: what each format makes of its values, and how it says what is wrong with it."""

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.codec.columns import Texts, numeric_column
from monitor.errors import ReferenceFileError
from monitor.events import FeatureKind
from monitor.reference import sources
from monitor.reference.sources import open_source

NUMERIC, CATEGORICAL = FeatureKind.NUMERIC, FeatureKind.CATEGORICAL


def written(path: Path, content: str | pa.Table) -> Path:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        pq.write_table(content, path)
    return path


def numbers(path: Path, name: str) -> list[float | str]:
    """The values of a numeric column; `missing` and `mistyped` in their place."""
    said: list[float | str] = []
    for block in open_source(path).blocks({name: NUMERIC}):
        column = numeric_column(block.column(name))
        for value, missing, mistyped in zip(column.values.tolist(), column.missing, column.mistyped, strict=True):
            said.append("missing" if missing else "mistyped" if mistyped else value)
    return said


def texts(path: Path, name: str) -> list[str | None]:
    said: list[str | None] = []
    for block in open_source(path).blocks({name: CATEGORICAL}):
        column = Texts.of_cells(block.column(name)).column()
        said += [column.categories[code] if code >= 0 else None for code in column.codes.tolist()]
    return said


def test_csv_numbers_are_what_reads_as_one(tmp_path: Path) -> None:
    spelled = [
        "1",
        " 2.5 ",
        "+3",
        "-1e3",
        ".5",
        "TRUE",
        "false",
        "inf",
        "-Infinity",
        "1e999",
        "NA",
        "null",
        "None",
        "abc",
        "1,5",
        "0x10",
        "1_000",
    ]
    path = written(tmp_path / "a.csv", "x,y\n" + "\n".join(f'"{text}",1' for text in [*spelled, ""]) + "\n")
    read = [1.0, 2.5, 3.0, -1_000.0, 0.5, 1.0, 0.0, math.inf, -math.inf, math.inf, *["missing"] * 3, *["mistyped"] * 4, "missing"]
    assert numbers(path, "x") == read


def test_csv_nan_is_a_number_that_is_none(tmp_path: Path) -> None:
    (value,) = numbers(written(tmp_path / "a.csv", "x\nnan\n"), "x")
    assert isinstance(value, float)
    assert math.isnan(value)


def test_csv_text_keeps_everything_but_the_empty_field(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'c,d\nNA,1\n,2\n"",3\nÜnï,4\n"a,""b""\nc",5\n007,6\n')
    assert texts(path, "c") == ["NA", None, None, "Ünï", 'a,"b"\nc', "007"]


def test_jsonl_values_keep_their_types(tmp_path: Path) -> None:
    lines = [
        '{"x": 1}',
        '{"x": 2.5}',
        "",
        '{"x": true}',
        '{"x": "3"}',
        '{"x": null}',
        "{}",
        '{"x": [1]}',
        '{"x": 1e308}',
        '{"x": 36893488147419103232}',
    ]
    path = written(tmp_path / "a.jsonl", "\n".join(lines))
    assert numbers(path, "x") == [1.0, 2.5, 1.0, "mistyped", "missing", "missing", "mistyped", 1e308, 36893488147419103232.0]
    assert texts(path, "x")[:3] == ["1", "2.5", "true"]


def test_parquet_columns_of_every_usual_type_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "float32": pa.array([1.5, None], pa.float32()),
            "uint8": pa.array([200, 1], pa.uint8()),
            "bool": pa.array([True, None]),
            "decimal": pa.array([Decimal("1.25"), None]),
            "text": pa.array(["a", None]),
            "large": pa.array(["a", None], pa.large_string()),
            "dictionary": pa.array(["a", None]).dictionary_encode(),
            "categories of numbers": pa.array([7, None]).dictionary_encode(),
            "nothing": pa.nulls(2),
        }
    )
    path = written(tmp_path / "a.parquet", table)
    assert numbers(path, "float32") == [1.5, "missing"]
    assert numbers(path, "uint8") == [200.0, 1.0]
    assert numbers(path, "bool") == [1.0, "missing"]
    assert numbers(path, "decimal") == [1.25, "missing"]
    assert numbers(path, "text") == ["mistyped", "missing"]
    assert texts(path, "text") == texts(path, "large") == texts(path, "dictionary") == ["a", None]
    assert texts(path, "categories of numbers") == ["7", None]
    assert texts(path, "nothing") == [None, None]


def test_kinds_are_those_of_the_columns(tmp_path: Path) -> None:
    expected = {"i": NUMERIC, "f": NUMERIC, "b": NUMERIC, "t": CATEGORICAL}
    csv = written(tmp_path / "a.csv", "i,f,b,t\n1,1.5,true,x\n2,,false,y\n")
    jsonl = written(tmp_path / "a.jsonl", '{"i": 1, "f": null}\n{"f": 1.5, "b": true, "t": "x"}\n')
    parquet = written(tmp_path / "a.parquet", pa.table({"i": [1], "f": [1.5], "b": [True], "t": ["x"]}))
    assert [dict(open_source(path).columns) for path in (csv, jsonl, parquet)] == [expected] * 3


def test_blocks_bound_what_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BLOCK_ROWS", 100)
    monkeypatch.setattr(sources, "CSV_BLOCK_BYTES", 1_000)
    monkeypatch.setattr(sources, "JSONL_BLOCK_BYTES", 1_000)
    values = [float(number) for number in range(1_000)]
    written(tmp_path / "a.parquet", pa.table({"x": values}))
    written(tmp_path / "a.csv", "x\n" + "\n".join(map(str, values)))
    written(tmp_path / "a.jsonl", "\n".join(f'{{"x": {value}}}' for value in values))
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        path = tmp_path / name
        blocks = list(open_source(path).blocks({"x": NUMERIC}))
        assert len(blocks) > 5
        assert numbers(path, "x") == values
        assert sum(block.size for block in blocks) == pytest.approx(path.stat().st_size, rel=0.2)


def test_a_file_of_no_rows_has_no_rows(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a.csv", "x,y\n"),
        written(tmp_path / "a.jsonl", ""),
        written(tmp_path / "a.parquet", pa.table({"x": pa.array([], pa.float64())})),
    ]
    assert [sum(block.rows for block in open_source(path).blocks({"x": NUMERIC})) for path in paths] == [0, 0, 0]


def _folder(path: Path) -> None:
    path.mkdir()


def _text(content: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(content, encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("absent.csv", lambda _: None, r"absent\.csv: there is no such file; expected rows in \.parquet"),
        ("folder.parquet", _folder, r"folder\.parquet: a folder; name the files in it"),
        ("a.xlsx", _text("x"), r'a\.xlsx: cannot tell what it holds by the suffix "\.xlsx"'),
        ("a.parquet", _text("PAR1 no"), r"a\.parquet: cannot be read as parquet"),
        ("empty.csv", _text(""), r"empty\.csv: cannot be read as csv: Empty CSV"),
        ("short.csv", _text("x,y\n1\n"), r"short\.csv: cannot be read as csv: .*Expected 2 columns, got 1"),
        ("twice.csv", _text("x,x\n1,2\n"), r"twice\.csv: two columns of its header have the same name"),
        ("a.jsonl", _text('{"x": 1}\n\n{"x": NaN}\n'), r"a\.jsonl: line 3: not JSON"),
        ("list.jsonl", _text('{"x": 1}\n[1]\n'), r"list\.jsonl: line 2: expected an object"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, name: str, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / name)
    with pytest.raises(ReferenceFileError, match=says):
        list(open_source(tmp_path / name).blocks({"x": NUMERIC}))


def test_a_column_of_lists_is_named_with_its_type(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", pa.table({"x": [[1, 2]], "y": [1]}))
    with pytest.raises(ReferenceFileError, match=r"column x has the type list<.*; expected numbers"):
        list(open_source(path).blocks({"x": NUMERIC}))
    assert numbers(path, "y") == [1.0]
