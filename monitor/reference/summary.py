"""What a reference profile says, for people: a table on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from monitor.events import Floats, Int64s
from monitor.reference.profile import SMALL_ROWS, Reference
from monitor.stats.features import CategoricalExtra, NumericExtra, NumericLayout

TOP_CATEGORIES: Final = 5
_LEVELS: Final = (0.05, 0.5, 0.95)
_HEADINGS: Final = ("feature", "kind", "cells", "missing", "holds", "flags")


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """A feature, `@score`, `@prediction` or `@label`. `cells` are those that drift compares, `missing` a share of the counted rows."""

    name: str
    kind: str
    cells: int
    missing: float
    holds: str
    flags: tuple[str, ...] = ()

    def fields(self) -> tuple[str, ...]:
        """In the order of the headings; never empty, so that a line can be split at white space up to `holds`."""
        return (self.name, self.kind, str(self.cells), f"{self.missing:.1%}", self.holds or "nothing", ", ".join(self.flags) or "-")


def summaries(reference: Reference) -> Iterator[FeatureSummary]:
    """The features in their order, then what the model gives out and what comes back, where the reference has it."""
    for name, layout in reference.features.items():
        counts = reference.counts(name)
        yield _numeric(name, layout, counts) if isinstance(layout, NumericLayout) else _categorical(name, layout.kept, counts)
    by_class = reference.predicted_scores.sum(axis=1)
    grid = reference.classes.grid
    if reference.has_scores:
        scores = reference.predicted_scores.sum(axis=0)
        levels = _levels(scores[: grid.cells], np.append(grid.edges, 1.0))
        unusable = int(scores[grid.cells :].sum())
        yield FeatureSummary("@score", "score", grid.cells, unusable / max(1, int(scores.sum())), levels)
    for name, classes in (("@prediction", by_class), ("@label", reference.labels)):
        if classes.any():
            missing = 1 - int(classes.sum()) / max(1, reference.counted_rows)
            yield FeatureSummary(name, "class", len(classes), missing, _shares(reference.classes.names, classes))


def heading(reference: Reference, path: Path) -> str:
    """The file, whose it is, and what it was counted on."""
    version = f"version {reference.version}" if reference.version else "every version"
    small = f"; under {SMALL_ROWS:,} counted rows some references mislead" if reference.is_small else ""
    return (
        f"{path}: {reference.model}, {version}: {reference.rows:,} rows of {', '.join(reference.created_from)}, "
        f"{reference.edge_rows:,} of them for the edges; {len(reference.segments)} segments{small}"
    )


def text_lines(reference: Reference, path: Path) -> Iterator[str]:
    """A heading, the names of the columns, and a line each, unwrapped."""
    yield heading(reference, path)
    rows = [_HEADINGS, *(summary.fields() for summary in summaries(reference))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADINGS) - 1)]
    for row in rows:
        yield "  ".join([*(field.ljust(width) for field, width in zip(row, widths, strict=False)), row[-1]])


def print_summary(reference: Reference, path: Path) -> None:
    """The same as a table on the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(heading(reference, path)), title_justify="left")
    for name in _HEADINGS:
        table.add_column(name, justify="right" if name in ("cells", "missing") else "left", overflow="fold")
    for summary in summaries(reference):
        table.add_row(*map(escape, summary.fields()))
    Console().print(table)


def _numeric(name: str, layout: NumericLayout, counts: Int64s) -> FeatureSummary:
    bins, extra = counts[: layout.bins], counts[layout.bins :]
    usable = int(bins.sum())
    flags = []
    if not usable:
        flags.append("no numbers")
    elif layout.low == layout.high:
        flags.append("constant")
    flags += [
        f"{int(extra[cell]):,} {said}"
        for cell, said in ((NumericExtra.NON_FINITE, "not finite"), (NumericExtra.MISTYPED, "no number"))
        if extra[cell]
    ]
    rows = max(1, usable + int(extra[: NumericExtra.BELOW].sum()))
    holds = f"{layout.low:.6g} to {layout.high:.6g}; {_levels(bins, np.append(layout.edges, layout.high))}" if usable else ""
    return FeatureSummary(name, "numeric", layout.bins, int(extra[NumericExtra.MISSING]) / rows, holds, tuple(flags))


def _categorical(name: str, kept: tuple[str, ...], counts: Int64s) -> FeatureSummary:
    extra = counts[len(kept) :]
    flags = []
    if len(kept) == 1 and not extra[CategoricalExtra.OTHER] and not extra[CategoricalExtra.UNSEEN]:
        flags.append("constant")
    if not kept:
        flags.append("no categories")
    if extra[CategoricalExtra.UNSEEN]:
        flags.append(f"truncated: {int(extra[CategoricalExtra.UNSEEN]):,} rows of further categories count as unseen")
    if extra[CategoricalExtra.MISTYPED]:
        flags.append(f"{int(extra[CategoricalExtra.MISTYPED]):,} no text")
    missing = int(extra[CategoricalExtra.MISSING]) / max(1, int(counts.sum()))
    return FeatureSummary(name, "categorical", len(kept) + 1, missing, _shares(kept, counts[: len(kept)], int(counts.sum())), tuple(flags))


def _levels(cells: Int64s, ends: Floats) -> str:
    """By which cell's end 5 %, half and 95 % of the rows are reached."""
    cumulated = np.cumsum(cells)
    places = [int(np.searchsorted(cumulated, level * cumulated[-1])) for level in _LEVELS]
    return ", ".join(f"{level:.0%} ≤ {ends[place]:.4g}" for level, place in zip(_LEVELS, places, strict=True))


def _shares(names: tuple[str, ...], counts: Int64s, rows: int = 0) -> str:
    """The most frequent first, with their shares."""
    order = np.argsort(-counts, kind="stable")[:TOP_CATEGORIES].tolist()
    total = max(1, rows or int(counts.sum()))
    return ", ".join(f"{names[place]} {counts[place] / total:.1%}" for place in order)
