"""The verbs of the control socket and of the workers' links: plain payloads to an operator's calls.

    set      {changes: [{target, key, value}, ...]}
    switch   {target, state}
    reload   {cause}
    history  {limit}
    status   {}
    reports  {}

Each may say `who`, where the caller is trusted with it. An answer is `{"ok": value}`, or
`{"refused": [sentence, ...]}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from penstock.core.errors import ChangeRefused, SpecError
from penstock.supervisor.answers import Changed, Status
from penstock.supervisor.draft import Asked
from penstock.supervisor.overlay import Event
from penstock.supervisor.reports import Reports

R = TypeVar("R", bound=Struct)


class Operator(Protocol):
    """What can be asked of a server that runs: of the supervisor, or of it through a link."""

    async def set(self, changes: Sequence[Asked], who: str) -> Changed:
        """Set values, all at once."""

    async def switch(self, target: str, state: str, who: str) -> Changed:
        """Switch a route or an arm."""

    async def reload(self, who: str, cause: str = "reload") -> Changed:
        """Read the file anew; models that have changed are opened."""

    async def history(self, limit: int | None = None) -> tuple[Event, ...]:
        """Return what has changed, oldest first."""

    async def status(self) -> Status:
        """Return what is served, by whom, and what is set in it."""

    async def reports(self) -> Reports:
        """Return what all workers count and are."""


class SetOne(Struct, frozen=True, forbid_unknown_fields=True):
    """One value to be set."""

    target: str
    key: str
    value: str


class SetThese(Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of `set`."""

    changes: tuple[SetOne, ...]
    who: str = ""


class SwitchThis(Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of `switch`."""

    target: str
    state: str
    who: str = ""


class HistoryOf(Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of `history`."""

    limit: int | None = None
    who: str = ""


class ReloadIt(Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of `reload`."""

    who: str = ""
    cause: str = "reload"


async def answered(operator: Operator, verb: str, payload: object, who: str = "") -> Any:  # noqa: ANN401
    """Return the answer to a verb, as MessagePack can hold it.

    Args:
        operator: answers it.
        verb: what is asked.
        payload: with what.
        who: asks; empty where the payload is trusted to say it.
    """
    try:
        return {"ok": await _asked(operator, verb, payload, who)}
    except (SpecError, ChangeRefused) as error:
        return {"refused": list(error.problems)}


async def _asked(operator: Operator, verb: str, payload: object, who: str) -> object:
    match verb:
        case "set":
            these = _taken(payload, SetThese)
            changes = [(one.target, one.key, one.value) for one in these.changes]
            return await operator.set(changes, who or these.who)
        case "switch":
            arm = _taken(payload, SwitchThis)
            return await operator.switch(arm.target, arm.state, who or arm.who)
        case "reload":
            this = _taken(payload, ReloadIt)
            return await operator.reload(who or this.who, this.cause)
        case "history":
            return await operator.history(_taken(payload, HistoryOf).limit)
        case "status":
            return await operator.status()
        case "reports":
            return await operator.reports()
        case _:
            raise ChangeRefused((f"this server knows no verb {verb!r}",))


def _taken(payload: object, kind: type[R]) -> R:
    try:
        return msgspec.convert({} if payload is None else payload, kind)
    except msgspec.ValidationError as error:
        raise ChangeRefused((f"this is not understood: {error}",)) from error
