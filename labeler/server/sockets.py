"""A WebSocket that ends when its visitor loses the access by which it was opened."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

NOT_ALLOWED = 1008  # RFC 6455, 7.4.1


class Watched:
    """One WebSocket: each message that comes is passed on only while `may` says so; then it is closed."""

    def __init__(self, receive: "Receive", send: "Send", may: Callable[[], Awaitable[bool]]) -> None:
        self._receive, self._send, self._may = receive, send, may
        self._is_over = False

    async def receive(self) -> "Message":
        """Return the next message; that the other side has gone, once access has ended."""
        message = await self._receive()
        if message["type"] == "websocket.receive" and not await self._may():
            self._is_over = True
            await self._send(
                {"type": "websocket.close", "code": NOT_ALLOWED, "reason": "No access any more."}
            )
            return {"type": "websocket.disconnect", "code": NOT_ALLOWED}
        return message

    async def send(self, message: "Message") -> None:
        """Send a message, as long as there is access."""
        if not self._is_over:
            await self._send(message)
