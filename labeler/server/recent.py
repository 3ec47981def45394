"""The vectors of what was last searched by: whoever scrolls asks by the same picture again and again."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from active.arrays import Rows

MOST = 200  # pictures and words; a vector takes some kilobytes


class Recent:
    """The last vectors of pictures and words from outside the pool, used in the server's own thread alone."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, bytes], Rows] = OrderedDict()

    async def row(self, encoder: str, kind: str, data: bytes, make: Callable[[], Rows]) -> Rows:
        """Return what `make` returns, in a thread, or what it returned when it was last asked for the same.

        encoder  key of the one in use. kind  of the data: a picture and words may be the same bytes.
        """
        mark = encoder, blake2b(data, digest_size=16, person=kind.encode()).digest()
        row = self._rows.pop(mark, None)
        if row is None:
            row = await asyncio.to_thread(make)
        self._rows[mark] = row
        while len(self._rows) > MOST:
            self._rows.popitem(last=False)
        return row
