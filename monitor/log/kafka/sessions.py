"""How long what may take: all of it follows from the group's session timeout."""

from typing import Final

from monitor.clock import Milliseconds

LONGEST_TRANSACTION_MS: Final = 20_000


def transaction_timeout_ms(session_timeout_ms: Milliseconds) -> Milliseconds:
    """After so long the broker ends a transaction that its owner left open: before another can own its partitions."""
    return min(session_timeout_ms // 2, LONGEST_TRANSACTION_MS)
