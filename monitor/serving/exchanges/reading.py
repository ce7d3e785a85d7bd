"""Exchanges of one model with another server to entries of the log, as our own requests become them.

Which tensor is which feature, score or label follows from the names and shapes of each exchange, by the same rules as for a model's
metadata; it is settled once for all exchanges that look alike. For the tap's drain thread alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from monitor.clock import Milliseconds
from monitor.codec.identity import ID_BYTES_LIMIT
from monitor.errors import ModelError
from monitor.events import Schema
from monitor.log.admission import FUTURE_LIMIT_MS
from monitor.serving.entry_config import NO_CONFIG
from monitor.serving.exchanges.arrays import array_of, scores_of, spec_of
from monitor.serving.exchanges.bodies import Body, document_in
from monitor.serving.exchanges.named import Named, answered, asked
from monitor.serving.ids import row_ids
from monitor.serving.monitored import SchemaOf, link
from monitor.serving.refusals import BadRequest
from monitor.serving.row_parameters import NO_PARAMETERS, RowParameters, row_parameters
from monitor.serving.tap import Entry, Tapped
from monitor.serving.tensors import Tensor, TensorSpec

LOOKS_LIMIT: Final = 64
"""Ways that the exchanges of one model may look. Clients choose shapes and servers versions, and memory must not grow with them."""
VERSION_LENGTH_LIMIT: Final = 128
EXCHANGE_BYTES: Final = 1_024
"""What an exchange holds in memory beside its bodies."""
REMEDY: Final = "name `features` in the configuration as the request's inputs are named or, for one table, in the order of its columns"

_logger = structlog.get_logger(__name__)

Look = tuple[str, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]
"""A version, and how inputs and outputs look."""


class Exchange(NamedTuple):
    """A request that another server has answered with 200, as it passed."""

    request: Body
    answer: Body
    version: str
    """The one that was asked for; "" where that was left to the server."""
    id: str
    """What its rows are called by, unless they have ids of their own: itself for one row, else `<id>/<row>`."""
    arrival: Milliseconds
    trace: str | None
    time: Milliseconds | None = None
    """When it was predicted; None: as it arrived."""


@dataclass(frozen=True, slots=True)
class _Understood:
    """What exchanges that look alike mean. `inputs` are those worth reading."""

    tapped: Tapped
    inputs: frozenset[str]


class Reader:
    """Reads the exchanges of one model. `unmapped` counts those in which it could not be told what is a feature, or a score or label."""

    def __init__(self, model: str, schema_of: SchemaOf, body_limit: int, *, trusts_client_times: bool) -> None:
        self.unmapped = 0
        self._model = model
        self._schema_of = schema_of
        self._body_limit = body_limit
        self._trusts = trusts_client_times
        self._known: dict[Look, _Understood | None] = {}
        self._is_told = False

    def read(self, exchange: Exchange, cost: int) -> Entry:
        """Raises `BadRequest` for what cannot be read or mapped."""
        request, answer = document_in(exchange.request, self._body_limit), document_in(exchange.answer, self._body_limit)
        version = _text(answer.members.get("model_version")) or exchange.version
        schema = self._schema_of(self._model, version)
        if schema is None:
            raise BadRequest(f"`models` in the configuration does not name {self._model[:80]}")
        inputs = asked(request)
        outputs = _outputs(answered(answer), _classified(request.members.get("outputs")), len(schema.classes))
        rows = _rows(outputs.values())
        understood = self._understood(schema, (version, tuple(map(spec_of, inputs.values())), tuple(outputs)))
        feeds = {name: array_of(inputs[name]) for name in understood.inputs}
        for name, values in feeds.items():
            if not values.ndim or len(values) != rows:
                raise BadRequest(f'input "{name[:80]}" has the shape {list(values.shape)}, and the answer {rows} rows')
        parameters = self._parameters(request.members.get("parameters"), rows, understood.tapped, exchange)
        ids = parameters.ids or _own_ids(answer.members.get("parameters"), rows) or row_ids(exchange.id, rows)
        return Entry(understood.tapped, rows, feeds, list(outputs.values()), ids, exchange.arrival, parameters, cost, exchange.trace)

    def _parameters(self, given: object, rows: int, tapped: Tapped, exchange: Exchange) -> RowParameters:
        parameters = row_parameters(given, rows) if type(given) is dict else NO_PARAMETERS
        if parameters.features:
            tapped.monitored.check_features(parameters.features)
        if parameters.times is None and exchange.time is not None:
            parameters = parameters._replace(times=[exchange.time] * rows)
        if parameters.times and self._trusts and max(parameters.times) > exchange.arrival + FUTURE_LIMIT_MS:
            raise BadRequest('"parameters.times" lies more than an hour ahead of the clock')
        return parameters

    def _understood(self, schema: Schema, look: Look) -> _Understood:
        if look not in self._known and len(self._known) < LOOKS_LIMIT:
            self._known[look] = self._linked(schema, *look)
        understood = self._known.get(look)
        if understood is None:
            self.unmapped += 1
            raise BadRequest(
                f"exchanges of {self._model} that look like this one cannot be mapped, or look in more than {LOOKS_LIMIT} ways"
            )
        return understood

    def _linked(self, schema: Schema, version: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> _Understood | None:
        try:
            monitored = link(schema, inputs, outputs, (), NO_CONFIG)
        except ModelError as error:
            if not self._is_told:
                self._is_told = True
                _logger.warning("another server's predictions cannot be mapped", model=self._model, reason=str(error), remedy=REMEDY)
            return None
        if monitored.absent:
            _logger.info(
                "no input carries these features; requests may, in parameters.features", model=self._model, features=list(monitored.absent)
            )
        return _Understood(Tapped(self._model, version, monitored), frozenset(source.input for source in monitored.sources))


class Unread(NamedTuple):
    """An exchange as the tap takes it: `cost` bytes that are decoded in its drain thread."""

    reader: Reader
    exchange: Exchange
    cost: int

    def decode(self) -> Sequence[Entry]:
        """Raises `BadRequest`."""
        return (self.reader.read(self.exchange, self.cost),)


def _outputs(named: Mapping[str, Named], classified: frozenset[object], classes: int) -> dict[TensorSpec, Tensor]:
    """Arrays by what they look like. Of classifications the scores that they hold: those of all classes, or they are left out."""
    outputs: dict[TensorSpec, Tensor] = {}
    for name, tensor in named.items():
        values, spec = array_of(tensor), spec_of(tensor)
        if name in classified and spec.datatype == "BYTES":
            scores = scores_of(values, classes)
            if scores is None:
                continue
            values, spec = scores, TensorSpec(name, "FP64", (*spec.shape[:1], classes))
        if values.ndim:
            outputs[spec] = values
    return outputs


def _classified(wanted: object) -> frozenset[object]:
    """The outputs of which a request wants the best classes by name (the classification extension)."""
    names = set()
    for output in wanted if type(wanted) is list else ():
        parameters = output.get("parameters") if type(output) is dict else None
        if type(parameters) is dict and parameters.get("classification") and type(output.get("name")) is str:
            names.add(output["name"])
    return frozenset(names)


def _rows(outputs: Iterable[Tensor]) -> int:
    counts = {len(values) for values in outputs}
    if len(counts) != 1 or 0 in counts:
        raise BadRequest(f"the answer's outputs have {sorted(counts)} rows; they should have one and the same number")
    return int(counts.pop())


def _own_ids(parameters: object, rows: int) -> list[str] | None:
    """Ids of rows that the server gave itself, as ours does."""
    ids = parameters.get("ids") if type(parameters) is dict else None
    if type(ids) is list and len(ids) == rows and all(type(each) is str and 0 < len(each.encode()) <= ID_BYTES_LIMIT for each in ids):
        return ids
    return None


def _text(value: object) -> str:
    """A version: Triton's is a number in text, others' may be a number, or null."""
    return str(value)[:VERSION_LENGTH_LIMIT] if type(value) in (str, int) else ""
