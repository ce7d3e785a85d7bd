"""MLServer's side of the comparison: a runtime of three lines over ONNX Runtime, as its own documentation shows custom runtimes."""

import os

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Fraud(MLModel):  # type: ignore[misc]  # it is run in MLServer's environment, which this one lacks
    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        label, scores = self._session.run(None, {"X": rows})
        outputs = [NumpyCodec.encode_output("label", label), NumpyCodec.encode_output("probabilities", scores)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
