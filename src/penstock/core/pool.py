"""What a pool of connections tells of itself."""

from __future__ import annotations

from typing import Protocol


class PoolCounted(Protocol):
    """What a pool of connections to a remote model is and has done."""

    @property
    def open(self) -> int:
        """Connections, those being established included."""

    @property
    def busy(self) -> int:
        """Connections that carry a request."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""

    @property
    def skipped(self) -> int:
        """Replicas that are passed over."""

    @property
    def requests(self) -> int:
        """Asked, in all."""

    @property
    def retries(self) -> int:
        """Repeated on another connection, in all."""

    @property
    def connect_failures(self) -> int:
        """Connections that could not be established, in all."""

    @property
    def broken(self) -> int:
        """Answers that did not come, or not whole, in all."""

    @property
    def late(self) -> int:
        """Answers that were given up, in all."""
