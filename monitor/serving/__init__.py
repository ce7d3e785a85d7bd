"""The inference server: Open Inference Protocol v2 over ONNX Runtime, the tap into the log, and the doors for labels and predictions.

A request, in order: `connection` and `turn` (bytes to ASGI), `app` (its path), `v2` or `grpc` (its handler), `protocol` (bytes to checked
tensors and back), `inference` (run, ids, shadows, tap), `batching` (requests to runs) and `model`, the only module that knows the runtime.
`registry` has the models, `monitored` what they mean to the monitor; `tap`, `outbox` and `spool` bring predictions to the log; `reception`
and `doors` take events of others, `proxy` and `cloudevents` those of other servers; `workers` is several processes as one. Nothing here
knows the daemon, the metrics client or which log is behind it.
"""
