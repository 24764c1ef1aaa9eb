"""Where records go: segments in a folder, lines on standard output, and what else there will be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Sink(Protocol):
    """Takes the records of one process, in its thread (`log_thread.py`); nobody else calls it."""

    @property
    def name(self) -> str:
        """The word for it in metrics and sentences."""

    @property
    def gone(self) -> int:
        """How many records were appended and are nowhere any more: somebody deleted them."""

    def begin(self) -> Iterator[str]:
        """Look at what earlier processes have left; yield in sentences what is odd about it.

        Raises:
            OSError: it cannot be looked at.
        """

    def encoded(self, records: bytes | bytearray, count: int) -> bytes:
        """Return records as they are appended.

        Args:
            records: each as `prediction_record.py` encodes it, one behind the other.
            count: how many they are.

        Raises:
            Exception: one of them can never be appended; it is asked again for each alone.
        """

    def append(self, records: bytes | bytearray) -> None:
        """Append records; where this raises it will be called with them again.

        Args:
            records: what `encoded` made of them, joined.

        Raises:
            OSError: they cannot be appended now.
        """

    def rest(self) -> None:
        """Do what is to be done when nothing has come for a while; must not raise."""

    def close(self) -> None:
        """End; must not raise."""
