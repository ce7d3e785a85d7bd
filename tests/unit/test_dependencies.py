"""Which part may know which: dependencies point one way, and each outside library has one home.

A part is a module or package directly under `monitor`. The rules are those of the design; a new part has to fit them.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VOCABULARY = {"events", "errors", "clock"}
"""May be imported by all."""

KERNEL = {"stats", "panes", "pane_store", "join", "quality", "segments", "counters", "model_readings"}
"""Arithmetic: no I/O, no time, no randomness, no library but NumPy and SciPy."""

PIPELINE = {"pipeline", "ledger", "beginnings"}
"""The path of events: what it counts, since when, and what became of each."""

ADAPTERS = {"log", "export", "serving", "snapshot"}
"""Each meets the outside in its own way and never another one. The protocol of the log, and what all logs share, is no adapter."""

WIRING = {"__main__", "app", "commands", "demo"}
"""Where concrete classes and the configuration are named."""

HOMES = {
    "kafka": r"log/kafka/.*",
    "obstore": r"snapshot/bucket\.py",
    "sqlite3": r"log/embedded\w*\.py",
    "prometheus_client": r"export/.*",
    "onnxruntime": r"serving/model\.py",
    "pynvml": r"serving/gpus\.py",
    "evidently": r"export/report\.py",
    "pydantic": r"(config|reference|serving|strict_yaml)/.*",
    "pydantic_settings": r"config/.*",
    "sklearn": r"demo/.*",
    "skl2onnx": r"demo/.*",
    "pandas": r"(demo/.*|export/report\.py)",
    "click": r"(app|commands/.*)(\.py)?",
    "numba": r"",
}
"""Where in `monitor/` a library may be imported, as a pattern on the file's path."""


@dataclass(frozen=True, slots=True)
class Import:
    """A file under `monitor/`, and a dotted name that it imports."""

    file: str
    name: str

    @property
    def part(self) -> str:
        return Path(self.file).parts[0].removesuffix(".py")

    @property
    def target(self) -> str | None:
        """The part of ours that is imported; None for what is not ours, or for `monitor` itself (its version)."""
        package, _, rest = self.name.partition(".")
        return rest.partition(".")[0] or None if package == "monitor" else None

    def __str__(self) -> str:
        return f"monitor/{self.file} imports {self.name}"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "monitor").rglob("*.py")):
        yield path.relative_to(ROOT / "monitor").as_posix(), ast.parse(path.read_text())


def imports() -> list[Import]:
    found = []
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [Import(file, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"monitor/{file}: a relative import; write the whole name"
                found += [Import(file, f"{node.module}.{alias.name}") for alias in node.names]
    return found


IMPORTS = imports()


def listed(offences: list[Import]) -> str:
    return "\n".join(map(str, offences))


def test_the_arithmetic_knows_only_itself_and_arrays() -> None:
    standard = {
        "abc",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "math",
        "struct",
        "types",
        "typing",
    }
    outside = {"numpy", "scipy", "bisect", "json", "operator", "zlib", "fractions", "contextlib"} | standard
    offences = [
        used
        for used in IMPORTS
        if used.part in KERNEL and not (used.target in KERNEL | VOCABULARY if used.target else used.name.partition(".")[0] in outside)
    ]
    assert not offences, listed(offences)


def test_the_pipeline_adds_the_codecs_and_no_io() -> None:
    allowed = KERNEL | VOCABULARY | {"codec", "log", *PIPELINE}
    offences = [used for used in IMPORTS if used.part in PIPELINE and used.target and used.target not in allowed]
    assert not offences, listed(offences)


def test_no_adapter_imports_another() -> None:
    offences = [
        used
        for used in IMPORTS
        if used.part in ADAPTERS and used.target in ADAPTERS - {used.part} and (used.target != "log" or is_concrete_log(used.name))
    ]
    assert not offences, listed(offences)


def test_only_the_wiring_names_concrete_logs() -> None:
    offences = [used for used in IMPORTS if is_concrete_log(used.name) and used.part not in WIRING | {"log"}]
    assert not offences, listed(offences)


def test_only_the_wiring_reads_the_configuration() -> None:
    offences = [used for used in IMPORTS if used.target == "config" and used.part not in WIRING | {"config"}]
    assert not offences, listed(offences)


def test_nothing_imports_the_command_line_or_the_demo() -> None:
    offences = [used for used in IMPORTS if used.target in WIRING and used.part not in WIRING]
    assert not offences, listed(offences)


def test_parts_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for used in IMPORTS:
        if used.target and used.target != used.part:
            graph.setdefault(used.part, set()).add(used.target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library: str) -> None:
    offences = [used for used in IMPORTS if used.name.partition(".")[0] == library and not re.fullmatch(HOMES[library], used.file)]
    assert not offences, listed(offences)


def test_the_arithmetic_and_the_pipeline_read_no_clock_no_file_and_no_environment() -> None:
    forbidden = {"open", "print", "input"}
    offences = [
        f"monitor/{file}:{node.lineno}: {node.func.id}()"
        for file, tree in sources()
        if Path(file).parts[0].removesuffix(".py") in KERNEL | PIPELINE
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in forbidden
    ]
    offences += [
        str(used)
        for used in IMPORTS
        if used.part in PIPELINE and used.name.partition(".")[0] in {"os", "time", "random", "pathlib", "datetime"}
    ]
    offences += [str(used) for used in IMPORTS if used.part in KERNEL and used.name.startswith("numpy.random")]
    assert not offences, "\n".join(offences)


def test_what_the_demo_installs_is_what_the_lock_says() -> None:
    block = re.compile(r"^[^\s#].*?(?=\n(?:[^\s]|\Z))", re.MULTILINE | re.DOTALL)
    without_reasons = re.compile(r"\n    #.*")
    whole, demo = (
        {without_reasons.sub("", entry).strip() for entry in block.findall((ROOT / name).read_text())}
        for name in ("requirements.lock", "requirements-demo.lock")
    )
    assert demo
    assert demo <= whole, "run .ci/lock"


def is_concrete_log(name: str) -> bool:
    """An implementation, not the protocol, the words and the rules that all of them share."""
    return re.match(r"monitor\.log\.(embedded|memory|kafka)", name) is not None
