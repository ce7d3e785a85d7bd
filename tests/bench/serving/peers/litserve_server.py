"""LitServe's side of the comparison: its usual class over ONNX Runtime, one worker, no batching (its batches wait for a timer)."""

import os
import sys

import litserve
import numpy as np
import onnxruntime as ort


class Fraud(litserve.LitAPI):  # type: ignore[misc]  # it is run in LitServe's environment, which this one lacks
    def setup(self, device: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, list[list[float]]]) -> object:
        return np.array(request["rows"], dtype=np.float32)

    def predict(self, rows: object) -> object:
        return self._session.run(None, {"X": rows})

    def encode_response(self, output: tuple[np.ndarray, np.ndarray]) -> dict[str, object]:
        return {"label": output[0].tolist(), "probabilities": output[1].tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Fraud(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="error", generate_client_file=False)
