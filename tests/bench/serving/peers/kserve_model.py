"""KServe's side of the comparison: a custom model over ONNX Runtime, as its own documentation shows them."""

import os
import sys

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Fraud(Model):  # type: ignore[misc]  # it is run in KServe's environment, which this one lacks
    def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None, **_: object) -> InferResponse:
        label, scores = self._session.run(None, {"X": payload.inputs[0].as_numpy()})
        outputs = []
        for name, datatype, values in (("label", "INT64", label), ("probabilities", "FP32", scores)):
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=False)
            outputs.append(output)
        return InferResponse(response_id=payload.id or "1", model_name=self.name, infer_outputs=outputs)


model = Fraud("fraud")
model.load()
ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1, access_log_format=None).start([model])
