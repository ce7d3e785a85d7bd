"""The inference server: Open Inference Protocol v2 over ONNX Runtime, the tap into the log, and the doors for labels and predictions.

Read `app.py` first (what a request meets, in order), then `protocol.py` (bytes to checked tensors and back), `model.py`,
`monitored.py` (tensors to named features and a logged decision) and `tap.py`. Nothing here knows the daemon, the metrics client or which
log is behind it.
"""
