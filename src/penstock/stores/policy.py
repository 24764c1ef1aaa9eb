"""What is kept of a route's requests."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from penstock.core.chance import is_among
from penstock.core.record import Record

INPUT = "input"
OUTPUT = "output"
OUTLIER = "outlier"


class LogPolicy(Struct, frozen=True, kw_only=True):
    """What is kept of one route's requests.

    Attributes:
        route: its name.
        generation: of the spec that says so.
        place: of the layer that says so; salts the choice of the sample.
        sample_percent: how many of the requests are recorded, by their seed.
        groups: fields of the request that are kept.
        keys: fields that keep a user on an arm: kept as a digest only.
        keeps_input: the input itself, and not only its digest.
        keeps_output: what was answered.
        columns: of the input that are left out, ascending.
        blocks: a record that has been promised is kept even where the buffer is full.
    """

    route: str
    generation: int = 0
    place: str = ""
    sample_percent: float = 100.0
    groups: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()
    keeps_input: bool = True
    keeps_output: bool = True
    columns: tuple[int, ...] = ()
    blocks: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether input and output are kept whole, and nothing as a digest."""
        return self.keeps_input and self.keeps_output and not self.keys and not self.columns

    def samples(self, record: Record) -> bool:
        """Tell whether a request is recorded; all records of one request are, or none.

        One that could not be decoded has no seed; its id takes the seed's part.
        """
        if self.sample_percent >= 100.0:
            return True
        request = record.request
        if request is None:
            return is_among(self.sample_percent, 0, f"{self.route} {record.request_id}")
        return is_among(self.sample_percent, request.seed, self.place)


Policies = Mapping[str, LogPolicy]
"""By route; a route that is not logged has none."""
