"""Files that appear under their name whole and durable, or not at all: what is read after a crash must not be half of anything."""

import os
from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, partial: Path, pieces: Iterable[bytes]) -> None:
    """Writes the pieces to `partial`, a name in the same folder that no other writer uses, then gives that the name `path`.

    What had that name is replaced. Raises OSError, or what the pieces raise; the folder is then as it was before, save where nothing but
    making the new name durable failed.
    """
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)  # the name is durable once its folder is
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
