"""Where the records of a process go, as its operator says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from msgspec import Struct

from penstock.stores.finished import Due
from penstock.stores.line_sink import STDOUT_SINK
from penstock.stores.log_folder import KEEP_DAYS, LOG_VARIABLE
from penstock.stores.log_settings import BadSetting, due_of, folder_named, keep_days_of
from penstock.stores.postgresql.address import VARIABLE as DATABASE_VARIABLE

SINKS_VARIABLE: Final = "PENSTOCK_LOG_SINKS"
"""Names the sinks beside the folder in the environment, with commas between them."""

KEY_VARIABLE: Final = "PENSTOCK_LOG_KEY"
"""A secret text in the environment of which the key of digests is made."""

SINKS: Final = (STDOUT_SINK,)
"""The sinks beside the folder."""

LEAST_KEY_CHARACTERS: Final = 16
"""Of the secret text; a shorter one could be found by trying."""


class LogPlaces(Struct, frozen=True):
    """Where records go.

    Attributes:
        folder: of the log; None where there is none.
        sinks: beside the folder.
        ships: segments wait in the folder's outbox for PostgreSQL as well.
        keep_days: how long records are kept in the folder.
        due: when its finished segments are compacted.
    """

    folder: str | None = None
    sinks: tuple[str, ...] = ()
    ships: bool = False
    keep_days: float = KEEP_DAYS
    due: Due = Due()

    @property
    def stdout(self) -> bool:
        """Whether records are lines of standard output: nothing else may be written there."""
        return STDOUT_SINK in self.sinks


def log_places(
    environment: Mapping[str, str],
    *,
    folder: str | None = None,
    otherwise: Path | None = None,
    sinks: Sequence[str] = (),
    emptied: bool = False,
    keep_days: float | None = None,
) -> LogPlaces:
    """Return where records go.

    Args:
        environment: may name the folder and the sinks.
        folder: as the command line names it.
        otherwise: where it is unless anybody names one; None: nowhere.
        sinks: as the command line names them; then the environment's do not count.
        emptied: there will be somebody who ships what is put into an outbox.
        keep_days: as the command line says it.

    Raises:
        BadSetting: there is no such sink, the folder can be none, the key's text is too short, or
            what should be a number is none.
    """
    named = folder or environment.get(LOG_VARIABLE)
    chosen = folder_named(named).absolute() if named else otherwise
    words = sinks or [word.strip() for word in environment.get(SINKS_VARIABLE, "").split(",")]
    wanted = tuple(dict.fromkeys(word for word in words if word))
    for word in wanted:
        if word not in SINKS:
            raise BadSetting(
                f"there is no sink {word!r} for the prediction log; there is {', '.join(SINKS)}"
            )
    given_key(environment)
    ships = emptied and bool(environment.get(DATABASE_VARIABLE, "").strip())
    return LogPlaces(
        None if chosen is None else str(chosen),
        wanted,
        ships,
        keep_days_of(environment) if keep_days is None else keep_days,
        due_of(environment),
    )


def given_key(environment: Mapping[str, str]) -> bytes | None:
    """Return the key of digests that the environment gives, if it does.

    Raises:
        BadSetting: its text is too short.
    """
    text = environment.get(KEY_VARIABLE, "")
    if not text:
        return None
    if len(text) < LEAST_KEY_CHARACTERS:
        raise BadSetting(f"{KEY_VARIABLE} is too short; give {LEAST_KEY_CHARACTERS} characters")
    return blake2b(text.encode(errors="surrogateescape"), digest_size=32).digest()
