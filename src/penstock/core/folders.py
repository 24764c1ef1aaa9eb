"""Folders that only their owner can look into."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700


def make_private(folder: Path) -> None:
    """Make a folder, unless it is there, and all that it lies in; each is its owner's alone.

    `Path.mkdir(parents=True)` gives its mode to the last one only.

    Raises:
        OSError: that cannot be done.
    """
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:  # where we are has been taken away
            raise
        make_private(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
