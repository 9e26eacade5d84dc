# SPDX-License-Identifier: Apache-2.0
"""HTTP connections that may not wait for ever: for a request's head, or for an answer's reader."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from the connection, or from a request's first byte, to its whole head
IDLE_SECONDS = 60.0  # from an answer to the next request's first byte
BODY_SECONDS = 60.0  # for all of a request's body
READ_SECONDS = 60.0  # for which a client may leave an answer unread


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol, which drops clients that hold a connection and send or read nothing."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self._head: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None
        self._idle = False

    def connection_made(self, transport: Any) -> None:
        """Wait for a head."""
        super().connection_made(transport)
        self._await(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Once a head is whole, `BODY_SECONDS` holds for what follows."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head()
            self._idle = False
        elif self._idle:  # the first byte of another head, which does not begin to wait anew
            self._idle = False
            self._await(HEAD_SECONDS)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()  # which may begin one that has come already
        self._idle = self.cycle.response_complete
        if self._idle and not self.transport.is_closing():
            self._await(IDLE_SECONDS)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._reader = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stop_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to wait for."""
        self._stop_head()
        self._stop_reader()
        super().connection_lost(exc)

    def _await(self, seconds):
        self._stop_head()
        self._head = self.loop.call_later(seconds, self.transport.abort)

    def _stop_head(self):
        if self._head:
            self._head.cancel()
            self._head = None

    def _stop_reader(self):
        if self._reader:
            self._reader.cancel()
            self._reader = None
