"""A worker with an application of a few lines instead of models, and a supervisor of such workers, for the tests of both.

    python -m tests.e2e.small_workers WORKERS     prints the port, then supervises

Paths: `/` answers the worker's pid and slot; `/metrics`; `/do/VERB/ARGUMENT` everywhere; `/done` what this worker did; `/hang` blocks its
event loop for good; `/slow` answers after a second; `/exit` ends it with code 3.
"""

import asyncio
import os
import sys
import time

from monitor import logs
from monitor.errors import MonitorError
from monitor.export.serving_metrics import render
from monitor.serving.binding import bind
from monitor.serving.http import Receive, Response, Scope, Send, json_response, respond
from monitor.serving.measured import Meters
from monitor.serving.server import ServerSettings, run
from monitor.serving.workers.siblings import Siblings
from monitor.serving.workers.slots import Slot
from monitor.serving.workers.supervisor import Team, same_command, supervise

SETTINGS = ServerSettings(request_timeout_seconds=5, keep_alive_seconds=5)


class WorkerApp:
    """Its answers count as inferences of version 1 of a model m."""

    def __init__(self, slot: Slot) -> None:
        self.ready = False
        self.done: list[str] = []
        self.meters = Meters()
        self.siblings = Siblings(slot, self.meters, {"load": self._load, "fail_in_1": self._fail})
        self._answered = self.meters.endpoint("infer", "m", "1")
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, await self._answer(scope["path"]))
        if scope["path"] == "/exit":
            os._exit(3)

    async def _answer(self, path: str) -> Response:
        match path.split("/")[1:]:
            case ["metrics"]:
                text, content_type = render(await self.siblings.tally())
                return Response(200, text, ((b"content-type", content_type),))
            case ["do", verb, argument]:
                try:
                    await self.siblings.everywhere(verb, argument)
                except MonitorError as error:
                    return json_response({"error": str(error)}, 500)
                return json_response({})
            case ["done"]:
                return json_response(self.done)
            case ["hang"]:
                time.sleep(60)  # noqa: ASYNC251  # that is the point
            case ["slow"]:
                await asyncio.sleep(1)
        self._answered.observe(200, 0.001)
        return json_response({"pid": os.getpid(), "slot": self._slot.number})

    async def _load(self, argument: str) -> None:
        self.done.append(argument)

    async def _fail(self, argument: str) -> None:
        if self._slot.number == 1:
            raise MonitorError(f"{argument} cannot be had here")


def main() -> None:
    logs.configure("info", sys.stderr)
    slot = Slot.inherited(os.environ)
    if slot is None:
        with bind("127.0.0.1", 0) as bound:
            print(bound.getsockname()[1], flush=True)
            try:
                supervise(Team(int(sys.argv[1]), same_command(), grace_seconds=5), bound, os.environ)
            except MonitorError as error:
                sys.exit(f"Error: {error}")
        return
    slot.live_with_supervisor()
    if "FAIL_AT_START" in os.environ:
        sys.exit("the model cannot be read")
    app = WorkerApp(slot)
    run(app, slot.socket(), SETTINGS, slot.tell_ready, meters=app.meters, services=(app.siblings,), crowd=slot.crowd())
    app.siblings.record()


if __name__ == "__main__":
    main()
