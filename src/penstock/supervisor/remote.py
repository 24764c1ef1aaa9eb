"""The supervisor of another process: what a command, or a worker's admin endpoint, asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, final

import msgspec

from penstock.core.errors import ChangeRefused, Unavailable
from penstock.core.link import Link, LinkError
from penstock.supervisor.answers import Changed, Status
from penstock.supervisor.draft import Asked
from penstock.supervisor.overlay import Event
from penstock.supervisor.reports import Reports

CHANGE_TIMEOUT_S: Final = 300.0
"""How long a change may take, those before it included."""

ASK_TIMEOUT_S: Final = 10.0
"""How long the answer to a question may take."""

REPORT_TIMEOUT_S: Final = 3.0
"""How long the answer to what probes and scrapers ask may take: they do not wait for long."""

T = TypeVar("T")


@final
class RemoteSupervisor:
    """Asks a supervisor over a link, as it could be asked itself.

    Whatever is refused raises `ChangeRefused` with all reasons; a supervisor that does not answer
    raises `Unavailable`.

    Args:
        link: to the supervisor.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def set(self, changes: Sequence[Asked], who: str = "") -> Changed:
        """Set values in the running server, all at once."""
        these = [{"target": target, "key": key, "value": text} for target, key, text in changes]
        return await self._changed("set", {"changes": these, "who": who})

    async def switch(self, target: str, state: str, who: str = "") -> Changed:
        """Switch a route or an arm `on`, `off`, or let it only `observe`."""
        return await self._changed("switch", {"target": target, "state": state, "who": who})

    async def reload(self, who: str = "", cause: str = "reload") -> Changed:
        """Have the file read anew; models that have changed are opened."""
        return await self._changed("reload", {"who": who, "cause": cause})

    async def history(self, limit: int | None = None) -> tuple[Event, ...]:
        """Return what has changed, oldest first; at most the newest `limit` events."""
        return await self._asked("history", {"limit": limit}, tuple[Event, ...], ASK_TIMEOUT_S)

    async def status(self) -> Status:
        """Return what is served, by whom, and what is set in it."""
        return await self._asked("status", {}, Status, REPORT_TIMEOUT_S)

    async def reports(self) -> Reports:
        """Return what all workers count and are."""
        return await self._asked("reports", {}, Reports, REPORT_TIMEOUT_S)

    async def _changed(self, verb: str, payload: Mapping[str, object]) -> Changed:
        return await self._asked(verb, payload, Changed, CHANGE_TIMEOUT_S)

    async def _asked(
        self, verb: str, payload: Mapping[str, object], kind: type[T], timeout_s: float
    ) -> T:
        try:
            answer: Any = await self._link.call(verb, payload, timeout_s=timeout_s)
            if "refused" in answer:
                raise ChangeRefused(msgspec.convert(answer["refused"], tuple[str, ...]))
            return msgspec.convert(answer["ok"], kind)
        except LinkError as error:
            raise Unavailable(f"the supervisor has not answered: {error}") from error
        except (TypeError, KeyError, msgspec.ValidationError) as error:
            what = f"the supervisor's answer to {verb} is not understood: {error}"
            raise Unavailable(what) from error
