"""A connection over HTTPS. It counts, and has to be quick, from its first byte on.

asyncio's own servers tell nobody of a connection before it is encrypted, and give each a minute for that: who
begins thousands and goes on with none would take all the files that the process may open.
"""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

from labeler import reach
from labeler.server import connection
from labeler.server.connection import Connection

FAREWELL_S = 2.0  # for the other end to confirm that an encrypted connection is over


class Secure(Connection):
    """A connection that is encrypted before anything is read from it."""

    _task: "asyncio.Task[None] | None" = None
    _sealed = _is_lost = False
    _early = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if not transport.is_closing():  # there was room
            self._task = self.loop.create_task(self._seal(transport))

    async def _seal(self, plain: asyncio.Transport) -> None:
        """Agree on a key with the other end; whoever can't, or takes too long, is left."""
        identity = reach.current().identity
        assert identity is not None, "only then connections are of this kind"
        if plain.is_closing():
            return
        try:
            sealed = await self.loop.start_tls(
                plain, self, identity.context(), server_side=True,
                ssl_handshake_timeout=connection.HEAD_S, ssl_shutdown_timeout=FAREWELL_S,
            )  # fmt: skip
        except OSError as e:  # all that can happen: TLS errors, a lost connection, the time is over
            plain.abort()
            self.connection_lost(e)  # asyncio tells nobody of who is lost before the connection is encrypted
            return
        if sealed is None:  # as asyncio has it for who hung up meanwhile
            self.connection_lost(None)
            return
        self.transport, self.flow, self.scheme = sealed, FlowControl(sealed), "https"
        self._sealed, self._since = True, self.loop.time()
        self._rest()
        if self._early:
            self.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        if self._sealed:
            super().data_received(data)
        else:  # it came with the end of the agreement, before `_seal` has heard of that
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = True
            super().connection_lost(exc)

    def _refuse(self, status: int, error: str, do: str) -> None:
        """Answer, or leave whoever could not read the answer yet."""
        if self._sealed:
            super()._refuse(status, error, do)
        else:
            self.transport.abort()
