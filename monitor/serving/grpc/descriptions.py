"""What the server says about its models over gRPC: metadata, configuration and statistics, in Triton's terms."""

from collections.abc import Sequence
from typing import Final

from monitor.serving.batching import Batching
from monitor.serving.grpc import messages as pb
from monitor.serving.measured import RunMeter
from monitor.serving.protocol import EXTENSIONS as CODEC_EXTENSIONS
from monitor.serving.protocol import PLATFORM, Codec
from monitor.serving.tensors import TensorSpec

EXTENSIONS: Final = (*CODEC_EXTENSIONS, "model_configuration", "statistics")
"""By Triton's names."""
ROWS_TOLD: Final = Batching().max_rows
"""The greatest number of rows in a request that clients are told to send. What has more is answered too, by a run of its own."""


def metadata_of(codec: Codec, versions: Sequence[str]) -> pb.ModelMetadataResponse:
    def described(specs: Sequence[TensorSpec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
        return [pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in specs]

    return pb.ModelMetadataResponse(
        name=codec.model, versions=versions, platform=PLATFORM, inputs=described(codec.inputs), outputs=described(codec.outputs)
    )


def config_of(codec: Codec) -> pb.ModelConfig:
    """As Triton would configure the model: a batch dimension is left out of the shapes where every tensor has it."""
    batched = all(spec.has_row_axis for spec in (*codec.inputs, *codec.outputs))
    first = 1 if batched else 0
    return pb.ModelConfig(
        name=codec.model,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=ROWS_TOLD if batched else 0,
        input=[pb.ModelInput(name=spec.name, data_type=_data_type(spec), dims=spec.shape[first:]) for spec in codec.inputs],
        output=[pb.ModelOutput(name=spec.name, data_type=_data_type(spec), dims=spec.shape[first:]) for spec in codec.outputs],
        dynamic_batching=pb.ModelDynamicBatching() if batched else None,
    )


def statistics_of(runs: RunMeter) -> pb.ModelStatistics:
    """Since this process began. A request's time is that of its waiting and of its run, which it may have shared: not of its encoding."""
    executions, requests = sum(runs.compute.buckets), round(runs.run_requests.sum)
    return pb.ModelStatistics(
        name=runs.model,
        version=runs.version,
        inference_count=round(runs.run_rows.sum),
        execution_count=executions,
        inference_stats=pb.InferStatistics(
            success=_duration(requests, runs.queue.sum + runs.compute.sum),
            fail=pb.StatisticDuration(count=sum(runs.refused.values())),
            queue=_duration(sum(runs.queue.buckets), runs.queue.sum),
            compute_infer=_duration(executions, runs.compute.sum),
        ),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=round(seconds * 1e9))


def _data_type(spec: TensorSpec) -> str:
    """The name in `DataType`."""
    return "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
