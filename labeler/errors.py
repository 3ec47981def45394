"""The errors a person may meet: one sentence for what is wrong, one for what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class LabelerError(Exception):
    """Something a person can mend. The CLI prints it and exits 1; the API sends it as 4xx.

    error  one sentence: what is wrong, with the value.
    do     one sentence: what to do about it.
    """

    def __init__(self, error: str, do: str = "") -> None:
        super().__init__(f"{error} {do}".strip())
        self.error = error
        self.do = do


class BadInput(LabelerError):
    """A value, file or folder that can't be used as it is."""


class NotReady(LabelerError):
    """Something has to happen first."""


class Blocked(NotReady):
    """The disk or another program is in the way; the same may work later (HTTP 503).

    wait_s  when to try again.
    """

    wait_s = 5


class TooMany(NotReady):
    """More came at once than may; wait_s says when to come back (HTTP 429)."""

    def __init__(self, error: str, do: str, wait_s: int) -> None:
        super().__init__(error, do)
        self.wait_s = wait_s


class Conflict(LabelerError):
    """Somebody else, or an earlier action, is in the way."""


class Missing(BadInput):
    """A name or id that nothing answers to (HTTP 404)."""


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn what a disk refuses while the block writes `name` into two sentences."""
    try:
        yield
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT)
        do = "Free some space" if full else "Check that its folder can be written"
        raise Blocked(f"{name} can't be written: {e.strerror or e}.", f"{do}; then try again.") from e


def status_of(e: LabelerError) -> int:
    """Return the HTTP status that says what kind of error it is."""
    kinds: dict[type[LabelerError], int] = {Missing: 404, Blocked: 503, Conflict: 409, NotReady: 409}
    return next((code for kind, code in kinds.items() if isinstance(e, kind)), 400)
