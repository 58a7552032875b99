"""The brokers of a run: real processes that can be killed, stopped, and started again, empty."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

from swarmdem.apps.torment.history import History
from swarmdem.transport.brokers import Broker, start_broker


class Relay:
    """One broker's place: whatever process serves it, the links lead there.

    Args:
        number: Among the brokers of the run.
        kind: What to start.
        history: Told of everything.
        lead: Called with number and port whenever a new process serves.
    """

    def __init__(self, number: int, kind: str, history: History, lead: Callable[[int, int], None]) -> None:
        self.number = number
        self._kind = kind
        self._history = history
        self._lead = lead
        self._broker: Broker | None = None
        self._stack = AsyncExitStack()
        self._stopped = False
        self._changing = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process that serves; None while there is none."""
        return self._broker.pid if self._broker is not None else None

    async def start(self) -> None:
        """Start an empty broker, unless there is one."""
        async with self._changing:
            if self._broker is None:
                self._broker = await self._stack.enter_async_context(start_broker(self._kind))
                self._lead(self.number, self._broker.port)
                self._history.note("broker_start", broker=self.number, pid=self._broker.pid)

    async def kill(self) -> None:
        """Kill it with all it holds."""
        async with self._changing:
            if self._broker is None:
                return
            broker, self._broker, self._stopped = self._broker, None, False
            self._history.note("broker_kill", broker=self.number, pid=broker.pid)
            if broker.running():
                os.kill(broker.pid, signal.SIGKILL)
            await self._stack.aclose()

    def stop(self) -> None:
        """Let it stand still; its connections stay open."""
        self._stopped = True
        self._signal(signal.SIGSTOP, "broker_stop")

    def go_on(self) -> None:
        """Let it run again, if it was stopped."""
        if self._stopped:
            self._stopped = False
            self._signal(signal.SIGCONT, "broker_continue")

    async def close(self) -> None:
        """End it."""
        if self._broker is not None and self._broker.running():
            os.kill(self._broker.pid, signal.SIGCONT)
        self._broker = None
        await self._stack.aclose()

    def _signal(self, number: signal.Signals, what: str) -> None:
        if self._broker is not None and self._broker.running():
            self._history.note(what, broker=self.number, pid=self._broker.pid)
            os.kill(self._broker.pid, number)
