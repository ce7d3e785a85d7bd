"""Small real ONNX models, repositories of them, and the application around them, for the tests of serving."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from monitor.clock import ManualClock
from monitor.events import FeatureKind, Schema, Stream, Task
from monitor.log import Message
from monitor.serving.app import App
from monitor.serving.batches import encode
from monitor.serving.http import Event
from monitor.serving.inference import Inference
from monitor.serving.loading import Loader
from monitor.serving.measured import Meters
from monitor.serving.outbox import Outbox
from monitor.serving.registry import Registry, Source
from monitor.serving.spool.slots import Spool
from monitor.serving.tap import Tap
from monitor.serving.tokens import Tokens
from monitor.serving.v2 import V2
from monitor.serving.versions import VersionPolicy
from monitor.serving.waiting import WaitingThreads

NOON = 1_362_139_200_000
"""2013-03-01T12:00Z."""

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING

WEIGHTS = (1.0, 2.0, -1.0)


def write(graph: onnx.GraphProto, path: Path) -> Path:
    # IR 10 and opset 18, since the runtime is behind what onnx writes by default.
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


def logistic(path: Path, *, rows: int | None = None, width: int | None = 3, classes: Sequence[str] | None = None) -> Path:
    """X [N, 3] → label and probabilities [N, 2] of sigmoid(X · WEIGHTS). The label is 0 or 1, or the name among `classes`."""
    labels = (
        {"keys_int64s": [0, 1], "values_int64s": [0, 1]} if classes is None else {"keys_int64s": [0, 1], "values_strings": list(classes)}
    )
    nodes = [
        helper.make_node("MatMul", ["X", "weights"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["index"], axis=1, keepdims=0),
        helper.make_node("LabelEncoder", ["index"], ["label"], domain="ai.onnx.ml", **labels),
    ]
    constants = [
        numpy_helper.from_array(np.array(WEIGHTS, dtype=np.float32).reshape(3, 1), "weights"),
        numpy_helper.from_array(np.array([1.0], dtype=np.float32), "one"),
    ]
    outputs = [
        helper.make_tensor_value_info("label", INT64 if classes is None else STRING, [rows]),
        helper.make_tensor_value_info("probabilities", FLOAT, [rows, 2]),
    ]
    return write(helper.make_graph(nodes, "logistic", [helper.make_tensor_value_info("X", FLOAT, [rows, width])], outputs, constants), path)


def named_inputs(path: Path) -> Path:
    """distance [N, 1], carrier [N, 1] → score [N, 1] = sigmoid(distance) and the carrier as it came."""
    nodes = [helper.make_node("Sigmoid", ["distance"], ["score"]), helper.make_node("Identity", ["carrier"], ["echo"])]
    inputs = [helper.make_tensor_value_info("distance", FLOAT, [None, 1]), helper.make_tensor_value_info("carrier", STRING, [None, 1])]
    outputs = [helper.make_tensor_value_info("score", FLOAT, [None, 1]), helper.make_tensor_value_info("echo", STRING, [None, 1])]
    return write(helper.make_graph(nodes, "named", inputs, outputs), path)


def echo(path: Path, kind: int, shape: Sequence[int | None]) -> Path:
    """x → y, the same tensor."""
    tensors = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    return write(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "echo", tensors[:1], tensors[1:]), path)


def shifted(path: Path, shift: float) -> Path:
    """x [N, 2] → y = x + shift: tells by its answers which file it is."""
    tensors = [helper.make_tensor_value_info(name, FLOAT, [None, 2]) for name in ("x", "y")]
    constant = numpy_helper.from_array(np.array(shift, dtype=np.float32), "shift")
    return write(helper.make_graph([helper.make_node("Add", ["x", "shift"], ["y"])], "shifted", tensors[:1], tensors[1:], [constant]), path)


def torch_export(path: Path, *, head: str | None, width: int = 2) -> Path:
    """input [N, 3] → output [N, width], as PyTorch writes a linear layer with `head` (Softmax, Sigmoid, …) behind it, or with none."""
    gemm = helper.make_node("Gemm", ["input", "fc.weight", "fc.bias"], ["output" if head is None else "logits"], transB=1)
    nodes = [gemm] if head is None else [gemm, helper.make_node(head, ["logits"], ["output"])]
    weights = np.linspace(-1, 1, 3 * width, dtype=np.float32).reshape(width, 3)
    constants = [
        numpy_helper.from_array(weights, "fc.weight"),
        numpy_helper.from_array(np.linspace(0.1, 0.9, width, dtype=np.float32), "fc.bias"),
    ]
    inputs = [helper.make_tensor_value_info("input", FLOAT, ["batch", 3])]
    outputs = [helper.make_tensor_value_info("output", FLOAT, ["batch", width])]
    return write(helper.make_graph(nodes, "main_graph", inputs, outputs, constants), path)


def external(path: Path, location: str) -> Path:
    """x [N, 2] → y = x · weights [2, 2], whose data are said to lie at `location`."""
    weights = onnx.TensorProto(name="weights", data_type=FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    tensors = [helper.make_tensor_value_info(name, FLOAT, [None, 2]) for name in ("x", "y")]
    return write(helper.make_graph([helper.make_node("MatMul", ["x", "weights"], ["y"])], "e", tensors[:1], tensors[1:], [weights]), path)


def registry_of(
    root: Path,
    schema_of: Callable[[str, str], Schema | None] = lambda _model, _version: None,
    *,
    versions: VersionPolicy = "all",
    meters: Meters | None = None,
) -> Registry:
    """Not started yet."""
    loader = Loader(schema_of, WaitingThreads(1, "run"), meters or Meters())
    return Registry(Source(root, loader, WaitingThreads(1, "load"), versions))


def schema(name: str = "flights", *, dimensions: tuple[str, ...] = (), **features: FeatureKind) -> Schema:
    kinds = features or dict.fromkeys(("a", "b", "c"), FeatureKind.NUMERIC)
    return Schema(name, Task.BINARY, ("on_time", "late"), 1, 0.5, kinds, dimensions)


@dataclass
class ListLog:
    """An `Appender` that keeps messages, and refuses with `error` while it is set."""

    partitions: int = 1
    error: Exception | None = None
    messages: list[tuple[Stream, Message]] = field(default_factory=list)

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        if self.error is not None:
            raise self.error
        self.messages += [(stream, message) for message in messages]
        return list(range(len(messages)))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401  whatever was answered
        return json.loads(self.body)

    @property
    def error(self) -> str:
        text = self.json["error"]
        assert isinstance(text, str)
        return text


@dataclass
class Bench:
    """The application on a manual clock, called without a socket."""

    app: App
    tap: Tap
    log: ListLog
    clock: ManualClock
    outbox: Outbox
    meters: Meters

    def call(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        sent: list[Event] = []

        async def receive() -> Event:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(event: Event) -> None:
            sent.append(event)

        asyncio.run(self.app(scope, receive, send))
        start, end = sent
        return Answer(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, end["body"])

    def infer(self, model: str, document: object) -> Answer:
        return self.call("POST", f"/v2/models/{model}/infer", json.dumps(document).encode())

    def flush(self) -> list[Message]:
        """Stops the tap and the outbox; the predictions that the log has."""
        self.outbox.start()
        self.tap.start()
        self.tap.stop(5.0)
        self.outbox.stop(5.0)
        return [message for stream, message in self.log.messages if stream is Stream.PREDICTIONS]


def bench(
    root: Path,
    schema_of: Callable[[str, str], Schema | None] = lambda _model, _version: None,
    *,
    trust_client_times: bool = False,
    log: ListLog | None = None,
    queue_bytes: int = 10_000_000,
    spool: Spool | None = None,
) -> Bench:
    log = log or ListLog()
    clock = ManualClock(NOON)
    outbox = Outbox(log, spool)
    tap = Tap(outbox, encode, bytes_limit=queue_bytes, trust_client_times=trust_client_times)
    meters = Meters()
    registry = registry_of(root, schema_of, meters=meters)
    registry.start(all_must_load=True)
    v2 = V2(registry, Inference(tap, trusts_client_times=trust_client_times), None, Tokens(()), meters, clock, lambda: app.ready, 100_000)
    app = App({}, v2, meters)
    app.ready = True
    return Bench(app, tap, log, clock, outbox, meters)


def tensor(name: str, datatype: str, shape: Sequence[int], data: Sequence[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": list(data)}
