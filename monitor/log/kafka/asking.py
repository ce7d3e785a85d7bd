"""Questions to the brokers, through one client of any number of threads."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import RetriableError

from monitor.errors import LogAway
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.shared import Shared

Answer = TypeVar("Answer")

ASK_FOR_S: Final = 15.0
"""How long a question is asked again that has no answer yet, because a leader is being elected, or a connection made."""
ASK_AGAIN_S: Final = 0.1


class Asking:
    """Connects when the first question is asked."""

    def __init__(self, connection: Connection) -> None:
        self._admin: Shared[KafkaAdminClient] = Shared(connection.admin, KafkaAdminClient.close)

    def ask(self, what: str, question: Callable[[KafkaAdminClient], Answer]) -> Answer:
        """The answer. Raises `LogError` where there is none; `what` is for people."""
        until = time.monotonic() + ASK_FOR_S
        with self._admin.lent() as admin, explained(what):
            while True:
                try:
                    return question(admin)
                except RetriableError as error:
                    if time.monotonic() > until:
                        raise LogAway(
                            f"{what}: no answer for {ASK_FOR_S:.0f} s ({error}). See whether the brokers are up and reachable from here"
                        ) from error
                    time.sleep(ASK_AGAIN_S)

    def close(self) -> None:
        self._admin.close()
