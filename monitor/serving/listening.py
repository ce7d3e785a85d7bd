"""Takes connections from the listening socket, which several processes may share: fairly, and not more of them than there may be."""

import asyncio
import errno
import socket
from typing import Final

import structlog

from monitor.serving.connection import Connection
from monitor.serving.house import House
from monitor.serving.workers.crowd import Crowd

_logger = structlog.get_logger(__name__)

PAUSE_SECONDS: Final = 0.1
"""After an accept that failed for want of something, such as file descriptors: they come back when connections end."""
DEFERENCE_SECONDS: Final = 0.002
"""What a worker with fewer connections gets to take the next one; if it is dead or hangs, that one waits no longer."""
_WANT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FULL: Final = b'{"error": "too many connections are open: try again later"}'
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)


class Listener:
    """Accepts connections one at a time: a process that is busy with requests leaves the others to those that are not."""

    def __init__(self, bound: socket.socket, house: House, connections_limit: int, crowd: Crowd | None = None) -> None:
        self._bound = bound
        self._house = house
        self._connections_limit = connections_limit
        self._crowd = crowd
        self._beginnings: set[asyncio.Task[object]] = set()
        bound.setblocking(False)

    def start(self) -> None:
        self._house.loop.add_reader(self._bound, self._somebody_is_there)

    def stop(self) -> None:
        """Takes whom the kernel has let in already, and nobody else."""
        self._house.loop.remove_reader(self._bound)
        while self._accept():
            pass
        self._bound.close()

    async def settled(self) -> None:
        """Returns once those accepted are connections."""
        if self._beginnings:
            await asyncio.wait(self._beginnings)

    @property
    def _connections(self) -> int:
        return len(self._house.connections) + len(self._beginnings)

    def _somebody_is_there(self) -> None:
        # All workers know of it at the same time. Who is busy looks later, and then it is gone.
        if self._crowd is not None and self._crowd.another_has_fewer(self._connections):
            self._pause(DEFERENCE_SECONDS)
        else:
            self._accept()

    def _pause(self, seconds: float) -> None:
        self._house.loop.remove_reader(self._bound)
        self._house.loop.call_later(seconds, self._resume)

    def _accept(self) -> bool:
        """One connection; False where there is none."""
        house = self._house
        try:
            accepted, address = self._bound.accept()
        except (BlockingIOError, InterruptedError):
            # Another process was quicker.
            return False
        except ConnectionAbortedError:
            return True
        except OSError as error:
            if error.errno not in _WANT:
                raise
            _logger.warning("connections wait: one cannot be accepted", reason=error.strerror)
            self._pause(PAUSE_SECONDS)
            return False
        accepted.setblocking(False)
        if self._connections >= self._connections_limit:
            house.refusals.observe(503, 0.0)
            accepted.send(_REFUSAL)
            accepted.close()
            return True
        client = (address[0], address[1]) if isinstance(address, tuple) else None
        beginning = house.loop.create_task(house.loop.connect_accepted_socket(lambda: Connection(house, client), accepted))
        self._beginnings.add(beginning)
        beginning.add_done_callback(self._beginnings.discard)
        return True

    def _resume(self) -> None:
        if not self._house.stopping:
            # Whoever is still there has been left to this one.
            self.start()
            self._accept()
