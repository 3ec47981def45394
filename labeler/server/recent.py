"""The vectors of what was last searched by: whoever scrolls asks by the same picture again and again."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from active.arrays import Rows

Key = Callable[[], Awaitable[str]]

MOST = 200  # pictures and words; a vector takes some kilobytes


class Recent:
    """The last vectors of pictures and words from outside the pool, used in the server's own thread alone.

    They are made one after another, as there is one process that makes them.
    """

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, bytes], Rows] = OrderedDict()
        self._making = asyncio.Lock()

    async def row(self, key: Key, kind: str, data: bytes, make: Callable[[], Rows]) -> Rows:
        """Return what `make` returns, in a thread, or what it returned when it was last asked for the same.

        key   returns the key of the encoder in use: what is made while it changes is not kept.
        kind  of the data: a picture and words may be the same bytes.
        """
        mark = blake2b(data, digest_size=16, person=kind.encode()).digest()
        encoder = await key()
        row = self._known((encoder, mark))
        if row is not None:
            return row
        async with self._making:
            encoder = await key()
            row = self._known((encoder, mark))
            if row is None:
                row = await asyncio.to_thread(make)
                if await key() == encoder:
                    self._rows[encoder, mark] = row
            while len(self._rows) > MOST:
                self._rows.popitem(last=False)
            return row

    def _known(self, mark: tuple[str, bytes]) -> Rows | None:
        """Return a vector that was made before, which is then the last one used; None: there is none."""
        row = self._rows.get(mark)
        if row is not None:
            self._rows.move_to_end(mark)
        return row
