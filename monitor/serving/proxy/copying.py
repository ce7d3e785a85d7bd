"""What passes through the proxy, kept until it is whole: within bounds for each body and for all of them together."""

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """How much may be kept: of one body, and of all that are under way."""

    body_bytes: int
    total_bytes: int
    held_bytes: int = 0


class Copy:
    """The bodies of one request and of its answer, by reference. `is_whole` until one of them was too large to keep."""

    __slots__ = ("_allowance", "_answer", "_held_bytes", "_request", "is_whole")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._request: list[bytes] = []
        self._answer: list[bytes] = []
        self._held_bytes = 0
        self.is_whole = True

    @property
    def request(self) -> bytes:
        return _joined(self._request)

    @property
    def answer(self) -> bytes:
        return _joined(self._answer)

    def add_to_request(self, piece: bytes) -> None:
        self._add(self._request, piece)

    def add_to_answer(self, piece: bytes) -> None:
        self._add(self._answer, piece)

    def release(self) -> None:
        """It is not under way any more. What was kept is somebody else's then, or nobody's."""
        self._allowance.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _add(self, body: list[bytes], piece: bytes) -> None:
        if not self.is_whole or not piece:
            return
        allowance, size = self._allowance, len(piece)
        if allowance.held_bytes + size > allowance.total_bytes or sum(map(len, body)) + size > allowance.body_bytes:
            self.is_whole = False
            self._request, self._answer = [], []
            self.release()
            return
        body.append(piece)
        self._held_bytes += size
        allowance.held_bytes += size


def _joined(pieces: list[bytes]) -> bytes:
    if len(pieces) > 1:
        pieces[:] = [b"".join(pieces)]
    return pieces[0] if pieces else b""
