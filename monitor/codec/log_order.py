"""Parts decoded from different frames of one poll, put together in log order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.codec.columns import Texts
from monitor.events import Column, Int64s, Labels, ModelRows, NumericColumn, Predictions, Rejection, TextColumn


def predictions_in_log_order(parts: Sequence[Predictions], rejected: Sequence[Rejection]) -> Predictions:
    """The rows and rejections of one or more parts, each in log order by itself, and the rejections that belong to none."""
    settled = _rejections(parts, rejected)
    if len(parts) == 1:
        return replace(parts[0], rejected=settled)
    order = _order(parts)
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    begins = np.cumsum([0, *map(len, parts)])
    placed = [(group, places[begin + group.rows]) for part, begin in zip(parts, begins, strict=False) for group in part.groups]
    versions = Texts.joined([TextColumn(part.version, part.versions) for part in parts], order)
    return Predictions(
        ids=np.concatenate([part.ids for part in parts])[order],
        id_partition=np.concatenate([part.id_partition for part in parts])[order],
        time=np.concatenate([part.time for part in parts])[order],
        arrival=np.concatenate([part.arrival for part in parts])[order],
        offset=np.concatenate([part.offset for part in parts])[order],
        row=np.concatenate([part.row for part in parts])[order],
        model=np.concatenate([part.model for part in parts])[order],
        version=versions.codes,
        versions=tuple(versions.values.to_pylist()),
        groups=tuple(_joined([(group, rows) for group, rows in placed if group.model == model]) for model in _models(parts)),
        rejected=settled,
        unknown_keys=sum(part.unknown_keys for part in parts),
    )


def labels_in_log_order(parts: Sequence[Labels], rejected: Sequence[Rejection]) -> Labels:
    """The same for labels."""
    settled = _rejections(parts, rejected)
    if len(parts) == 1:
        return replace(parts[0], rejected=settled)
    order = _order(parts)
    return Labels(
        ids=np.concatenate([part.ids for part in parts])[order],
        id_partition=np.concatenate([part.id_partition for part in parts])[order],
        time=np.concatenate([part.time for part in parts])[order],
        arrival=np.concatenate([part.arrival for part in parts])[order],
        offset=np.concatenate([part.offset for part in parts])[order],
        row=np.concatenate([part.row for part in parts])[order],
        model=np.concatenate([part.model for part in parts])[order],
        value=np.concatenate([part.value for part in parts])[order],
        rejected=settled,
        unknown_keys=sum(part.unknown_keys for part in parts),
    )


def _rejections(parts: Sequence[Predictions] | Sequence[Labels], rejected: Sequence[Rejection]) -> tuple[Rejection, ...]:
    everything = [*rejected, *(rejection for part in parts for rejection in part.rejected)]
    return tuple(sorted(everything, key=lambda rejection: (rejection.offset, rejection.row)))


def _order(parts: Sequence[Predictions] | Sequence[Labels]) -> Int64s:
    return np.lexsort((np.concatenate([part.row for part in parts]), np.concatenate([part.offset for part in parts])))


def _models(parts: Sequence[Predictions]) -> list[int]:
    return sorted({group.model for part in parts for group in part.groups})


def _joined(pieces: Sequence[tuple[ModelRows, Int64s]]) -> ModelRows:
    """One model's rows from several parts, each with the places of its rows in the whole."""
    groups = [group for group, _ in pieces]
    rows = np.concatenate([places for _, places in pieces])
    order = np.argsort(rows)
    return ModelRows(
        model=groups[0].model,
        rows=rows[order],
        predicted=np.concatenate([group.predicted for group in groups])[order],
        scores=np.concatenate([group.scores for group in groups])[order],
        features={name: _joined_column([group.features[name] for group in groups], order) for name in groups[0].features},
        segments={name: _joined_texts([group.segments[name] for group in groups], order) for name in groups[0].segments},
        content=np.concatenate([group.content for group in groups])[order],
    )


def _joined_column(columns: Sequence[Column], order: Int64s) -> Column:
    numeric = [column for column in columns if isinstance(column, NumericColumn)]
    if not numeric:
        return _joined_texts([column for column in columns if isinstance(column, TextColumn)], order)
    return NumericColumn(
        values=np.concatenate([column.values for column in numeric])[order],
        missing=np.concatenate([column.missing for column in numeric])[order],
        mistyped=np.concatenate([column.mistyped for column in numeric])[order],
    )


def _joined_texts(columns: Sequence[TextColumn], order: Int64s) -> TextColumn:
    return Texts.joined(columns, order).column()
