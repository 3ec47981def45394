"""Memory that is free goes back to the system."""

import asyncio
import ctypes
import sys
from collections.abc import Callable
from functools import cache

EVERY_S = 30.0


@cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim; None on other systems, which do it by themselves or can't."""
    if sys.platform != "linux":
        return None
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library, musl say
        return None
    return found


def give_back() -> None:
    """Return what the C library keeps of freed memory; takes a few ms, during which other threads go on."""
    if trim := _trim():
        trim(0)


async def keep_small() -> None:
    """Give memory back every half minute, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(give_back)
