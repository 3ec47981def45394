"""The errors a person may meet: one sentence for what is wrong, one for what to do."""


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


class Conflict(LabelerError):
    """Somebody else, or an earlier action, is in the way."""


class Missing(BadInput):
    """A name or id that nothing answers to (HTTP 404)."""
