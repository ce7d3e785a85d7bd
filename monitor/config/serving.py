"""The inference server's section: what it serves, how requests run, how what they were goes to the log, and who may send events."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from monitor.strict_yaml.quantities import Bytes, Duration, Lenient, Names, Text
from monitor.strict_yaml.section import Complaint, Disagreement, Section


def _local_folder(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError("models are read from a folder, not from an object store: mount it, or copy it there first")
    return value


def _http_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username or parts.password:
        raise ValueError("expected the address of a server beside this one, such as http://127.0.0.1:8080")
    return text.rstrip("/")


def _milliseconds_or_none(value: object) -> object:
    return None if value == "none" else value


LocalPath = Annotated[Path, Lenient, BeforeValidator(_local_folder)]
Port = Annotated[int, Field(ge=0, le=65_535)]
"""0: any free one."""
WORKERS_LIMIT: Final = 256


class LatestVersions(Section):
    """The newest so many versions of each model."""

    latest: int = Field(ge=1)


Versions = Literal["all"] | LatestVersions | Annotated[Names, Field(min_length=1)]


class BatchingSettings(Section):
    """How requests that wait at the same time become one run. A model's own `config.yaml` may say otherwise."""

    max_rows: int = Field(default=64, ge=1)
    """Rows of a run; a request of more runs by itself, whole. 1: requests never share a run."""
    preferred_rows: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Lenient] = ()
    """Sizes that the model is fast at: a batch is cut at the greatest of them that is full."""
    delay: Annotated[Duration | None, BeforeValidator(_milliseconds_or_none)] = None
    """How long a batch that is not full waits for more. None: not at all; what is there at once is taken together."""
    queue_rows: int = Field(default=4_096, ge=1)
    """Rows that may wait for a run; a request beyond them is told 429."""
    concurrency: int = Field(default=1, ge=1)
    """Runs of one model version at a time, in threads."""


class SessionSettings(Section):
    """How ONNX Runtime runs a model. A model's own `config.yaml` may say otherwise."""

    intra_op_threads: int = Field(default=1, ge=1)
    inter_op_threads: int = Field(default=1, ge=1)
    spinning: bool = False
    """Whether its threads burn their cores between runs."""
    graph: Literal["disabled", "basic", "extended", "all"] = "all"
    """How far it rewrites the graph."""


class DeviceSettings(Section):
    """What models run on."""

    kind: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    id: int = Field(default=0, ge=0)
    """Which of several devices."""
    require_gpu: bool = False
    """Whether the start fails where a model would fall back to the CPU, wholly or in part."""
    memory_limit: Bytes | None = None
    """Of the device's memory; None: as much as there is."""


class SpoolSettings(Section):
    """Where predictions wait on disk while the log is away."""

    path: LocalPath = Path("data/spool")
    max_bytes: Bytes = Field(default="1GB", validate_default=True)
    """Of all worker processes together; beyond it is counted loss."""
    enabled: bool = True


class TokenSettings(Section):
    """A secret that lets its bearer send labels and predictions."""

    file: LocalPath
    """Holds the token, on one line; read again when it changes."""
    models: Names = ()
    """Those it may send for; none named: all."""


class DoorSettings(Section):
    """Who may send labels and predictions, and how many."""

    tokens: Annotated[tuple[TokenSettings, ...], Lenient] = ()
    """None: everybody who reaches the port may."""
    events_per_second: float | None = Field(default=None, gt=0)
    """Of each token, or of each client address where there are no tokens; a burst of ten seconds' worth passes. None: no limit."""


class UpstreamSettings(Section):
    """Another inference server that this one stands in front of."""

    url: Annotated[Text, AfterValidator(_http_address)] = Field(examples=["http://127.0.0.1:8080"])
    timeout: Duration = Field(default="60s", validate_default=True)
    """For its answer; 504 after that."""


class CloudEventSettings(Section):
    """KServe's payload logger as a source: its events at `POST /v1/cloudevents`, and from a topic of its own."""

    topic: Text | None = None
    """On the brokers of `log`; None: over HTTP only."""
    group: Text = "model-monitor-cloudevents"
    pair_within: Duration = Field(default="60s", validate_default=True)
    """How long a request's event waits for its response's, and the other way round."""
    waiting: int = Field(default=10_000, ge=1)
    """How many may wait at a time; beyond it the oldest is counted as lost."""


class ServingSettings(Section):
    """The inference server, its tap into the log, and the HTTP doors for events."""

    repository: LocalPath | None = None
    """`<model>/<version>/model.onnx`; None: no inference, only the doors for labels and predictions."""
    model_control: Literal["none", "poll", "explicit"] = "none"
    """none: what is there at the start. poll: changes are noticed. explicit: by `POST /v2/repository/models/NAME/load` and `…/unload`."""
    poll_every: Duration = Field(default="15s", validate_default=True)
    versions: Versions = "all"
    """Which of each model's: `all`, `{latest: 2}`, or a list. A model's own `config.yaml` may say otherwise."""
    host: Text = "127.0.0.1"
    port: Port = 8000
    grpc_port: Port | None = 8001
    """None: no gRPC."""
    workers: int = Field(default=1, ge=1, le=WORKERS_LIMIT)
    """Processes that answer on the same ports: one a core at most."""
    trust_client_times: bool = False
    """The time that a client gives is the arrival too (replays, the demo); otherwise the server's clock stamps it."""
    max_body_bytes: Bytes = Field(default="16MB", validate_default=True)
    request_timeout: Duration = Field(default="30s", validate_default=True)
    """A client that has not sent its whole request by then is cut off."""
    keep_alive: Duration = Field(default="75s", validate_default=True)
    batching: BatchingSettings = Field(default_factory=BatchingSettings)
    session: SessionSettings = Field(default_factory=SessionSettings)
    device: DeviceSettings = Field(default_factory=DeviceSettings)
    queue_bytes: Bytes = Field(default="64MB", validate_default=True)
    """What the tap holds in memory before it counts loss instead."""
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    labels_durable: Literal["log", "spool"] = "log"
    """Where a label has to be before its sender is told 202: in the log, or at least in the spool."""
    doors: DoorSettings = Field(default_factory=DoorSettings)
    upstream: UpstreamSettings | None = None
    cloudevents: CloudEventSettings | None = None

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        Disagreement.check(self._complaints())
        return self

    @property
    def has_grpc(self) -> bool:
        """Whether gRPC is answered: only models are asked by it."""
        return self.repository is not None and self.grpc_port is not None

    def relative_to(self, folder: Path) -> Self:
        """The same with every relative path taken from `folder`."""
        tokens = tuple(token.model_copy(update={"file": folder / token.file}) for token in self.doors.tokens)
        return self.model_copy(
            update={
                "repository": None if self.repository is None else folder / self.repository,
                "spool": self.spool.model_copy(update={"path": folder / self.spool.path}),
                "doors": self.doors.model_copy(update={"tokens": tokens}),
            }
        )

    def _complaints(self) -> Iterator[Complaint]:
        if self.upstream is not None and self.repository is not None:
            yield ("upstream",), "stands in front of another server, which has the models: leave out repository, or upstream"
        if self.cloudevents is not None and self.workers > 1:
            yield ("workers",), "has to be 1 with cloudevents: an event waits for its other half in the process that received it"
        if self.labels_durable == "spool" and not self.spool.enabled:
            yield ("labels_durable",), "needs the spool: set spool.enabled to true, or labels_durable to log"
        if self.model_control != "none" and self.repository is None:
            yield ("model_control",), f"{self.model_control} needs a repository"
        if self.device.require_gpu and self.device.kind == "cpu":
            yield ("device", "require_gpu"), "needs kind: cuda or tensorrt"
