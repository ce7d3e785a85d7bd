"""The bidirectional stream: several requests of a client under way at once, one answer for each, in the order they came."""

import asyncio
from typing import Final

import grpc

from monitor.serving.grpc.calls import Call, Context, Handler, Work, counted
from monitor.serving.grpc.messages import ModelInferResponse, ModelStreamInferResponse
from monitor.serving.grpc.statuses import code_of
from monitor.serving.measured import Meter
from monitor.serving.refusals import NotReady, Refusal

WINDOW: Final = 64
"""Requests of one stream that may wait for their answers; the next is not read then, and HTTP/2 makes its sender wait."""


class Streams:
    """All open streams, so that a stop need not wait for clients to close them."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Task[None]] = set()
        self._ending = False

    def end(self) -> None:
        """No stream reads on; each ends once what it has read is answered."""
        self._ending = True
        for reader in self._readers:
            reader.cancel()

    def handler(self, work: Work[ModelInferResponse], meter: Meter) -> Handler:
        """A method whose requests `work` answers, each for itself: what one is refused with is its answer, and the stream goes on."""

        async def stream(_requests: object, context: Context) -> None:
            # The reader ends it with None.
            answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
            window = asyncio.Semaphore(WINDOW)

            async def read() -> None:
                try:
                    while True:
                        await window.acquire()
                        body: object = await context.read()
                        if not isinstance(body, bytes):  # the end of the client's side
                            break
                        answers.put_nowait(group.create_task(_answer(work, body, Call(meter, context))))
                finally:
                    answers.put_nowait(None)

            if not self._ending:
                async with asyncio.TaskGroup() as group:
                    reader = group.create_task(read())
                    self._readers.add(reader)
                    reader.add_done_callback(self._readers.discard)
                    while (answer := await answers.get()) is not None:
                        await context.write(await answer)
                        window.release()
            if self._ending:
                stopping = NotReady("the server is stopping: open another stream later")
                await context.abort(code_of(stopping), str(stopping))

        return grpc.stream_stream_rpc_method_handler(stream)


async def _answer(work: Work[ModelInferResponse], body: bytes, call: Call) -> bytes:
    try:
        answer = ModelStreamInferResponse(infer_response=await counted(work, body, call))
    except Refusal as refusal:
        answer = ModelStreamInferResponse(error_message=str(refusal), infer_response=ModelInferResponse(id=call.id))
    # There is never another answer to the same request, which clients of servers that may send several ask for.
    answer.infer_response.parameters["triton_final_response"].bool_param = True
    return answer.SerializeToString()
