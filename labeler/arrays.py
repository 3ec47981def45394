"""Arrays in one file that is either whole or not there."""

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labeler import files
from labeler.errors import writing


def save_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write arrays to one file that is either whole or not there."""
    with saving_arrays(path, **arrays) as put:
        put()


@contextmanager
def saving_arrays(path: Path, **arrays: NDArray[np.generic]) -> Iterator[Callable[[], None]]:
    """As `save_arrays`, in two steps: what is given to the block puts the file in its place.

    For what goes with rows of the database: the lock of a transaction is not held while it is written.
    """
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for options
    with writing(f"The file {path.name}"), files.saving(path, data.getvalue()) as put:
        yield put


def load_arrays(path: Path) -> "dict[str, NDArray[Any]] | None":  # Any: whatever dtype was saved
    """Return the arrays of a file, None when it is not there or damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as f:
            return {name: f[name] for name in f.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
