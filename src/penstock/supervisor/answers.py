"""What the supervisor answers to whoever operates it, in this process or through a socket."""

from __future__ import annotations

from msgspec import Struct

from penstock.spec.nodes import Plain
from penstock.supervisor.crew import Member
from penstock.supervisor.overlay import Change


class Changed(Struct, frozen=True, kw_only=True):
    """A change that has been made.

    Attributes:
        generation: what is served now.
        changes: what changed of the overlay.
        workers: how many serve it.
        of: how many there are; those that do not serve it are being replaced.
        warnings: what is odd about it, and what no longer fitted the file and was dropped.
        already: nothing had to be changed.
    """

    generation: int
    changes: tuple[Change, ...] = ()
    workers: int
    of: int
    warnings: tuple[str, ...] = ()
    already: bool = False


class Active(Struct, frozen=True, kw_only=True):
    """A value that is in effect instead of what the file says.

    Attributes:
        path: where it stands in the spec.
        value: in effect.
        base: what the file says.
        who: set it.
        time: when, RFC 3339 in UTC.
    """

    path: str
    value: Plain
    base: Plain
    who: str
    time: str


class Refused(Struct, frozen=True, kw_only=True):
    """The last reload, where it could not be made.

    Attributes:
        time: when, RFC 3339 in UTC.
        who: wanted it.
        cause: why.
        problems: why not.
    """

    time: str
    who: str
    cause: str
    problems: tuple[str, ...]


class Status(Struct, frozen=True, kw_only=True):
    """What is served, by whom, and what is set in it.

    Attributes:
        generation: what is served.
        path: of the file.
        digest: of the file's text that is served, twelve hexadecimal digits.
        state: the state directory; None where there is none.
        no_state: why there is none, and so nothing can be set; empty where there is one.
        workers: what is known of each without asking it.
        active: what is set instead of what the file says.
        refused: the newest reload, if it was refused.
    """

    generation: int
    path: str
    digest: str
    state: str | None
    no_state: str
    workers: tuple[Member, ...]
    active: tuple[Active, ...]
    refused: Refused | None = None
