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
    for one in reversed((folder, *folder.parents)):
        one.mkdir(mode=FOLDER_MODE, exist_ok=True)
