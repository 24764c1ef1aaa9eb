"""Records on their way from the event loop to the sinks, handed over together."""

from __future__ import annotations

from typing import Final, final

from penstock.core.errors import LogUnavailable, SwitchedOff
from penstock.stores.make_record import Entry

OVERHEAD_BYTES: Final = 1024
"""Of a batch beside what is in it, about."""


@final
class Encoded:
    """Records that have been made, one behind the other.

    Attributes:
        records: each as `prediction_record.py` encodes it.
        count: how many they are.
    """

    __slots__ = ("count", "records")

    def __init__(self) -> None:
        self.records = bytearray()
        self.count = 0


@final
class Batch:
    """Records that are handed over together; once they are, it is not changed any more.

    Those of one kind are in the order in which their requests ended.

    Attributes:
        plain: those that have been made.
        promised: those of them that are kept even where the buffer is full.
        entries: what further ones are made of, in the log's thread.
        entry_bytes: about what these hold in memory.
    """

    __slots__ = ("entries", "entry_bytes", "plain", "promised")

    def __init__(self) -> None:
        self.plain = Encoded()
        self.promised = Encoded()
        self.entries: list[Entry] = []
        self.entry_bytes = 0

    def __len__(self) -> int:
        return self.plain.count + self.promised.count + len(self.entries)

    @property
    def size_bytes(self) -> int:
        """About what it holds in memory."""
        made = self.plain.records.__alloc__() + self.promised.records.__alloc__()
        return OVERHEAD_BYTES + made + self.entry_bytes

    def add(self, entry: Entry) -> None:
        """Add what a record is to be made of."""
        self.entries.append(entry)
        self.entry_bytes += entry.size_bytes

    def only_promised(self) -> Batch:
        """Return the part of it that has been promised."""
        part = Batch()
        part.promised = self.promised
        for entry in filter(was_promised, self.entries):
            part.add(entry)
        return part


def was_promised(entry: Entry) -> bool:
    """Tell whether a request may have come so far that its record was promised to it."""
    refused = isinstance(entry.record.outcome, LogUnavailable | SwitchedOff)
    return entry.policy.blocks and entry.record.request is not None and not refused
