"""Looks at the model repository again and again, for as long as the server runs."""

import asyncio

import structlog

from monitor.serving.registry import Registry

_logger = structlog.get_logger(__name__)


class Polling:
    """Runs beside the server, on its loop."""

    def __init__(self, registry: Registry, every_seconds: float) -> None:
        self._registry = registry
        self._every_seconds = every_seconds
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The first look is `every_seconds` from now."""
        self._looking = asyncio.create_task(self._look())

    async def stop(self, grace_seconds: float) -> None:
        """A load that is under way is given up."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        """Until it is cancelled. A look that fails is told, and the next one is taken all the same."""
        while True:
            await asyncio.sleep(self._every_seconds)
            try:
                await self._registry.look()
            except Exception:
                _logger.exception("a look at the model repository failed")
