"""Where the database is, as the environment says it. Holds a password, and never shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from penstock.core.errors import PenstockError

VARIABLE: Final = "PENSTOCK_LOG_POSTGRESQL"
"""Says in the environment where the database is: a URL, or `key=value` pairs. Holds a password."""

CONNECT_TIMEOUT_S: Final = 10
"""How long one address of the database has to answer."""

SILENT_S: Final = 30
"""How long a peer may be silent before its connection is taken as broken."""


class PostgresqlUnavailable(PenstockError):
    """Records are to be shipped to PostgreSQL, and cannot be: the extra, or the address."""

    code = "postgresql_unavailable"


class Address(Struct, frozen=True):
    """Where the database is. What it shows of itself has no password in it.

    Attributes:
        text: as the environment says it.
        secrets: what must not be shown.
    """

    text: str
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Address({VARIABLE})"

    def without_secrets(self, said: str) -> str:
        """Return what somebody says, without the password."""
        for secret in self.secrets:
            said = said.replace(secret, "***")
        return said


def address_in(environment: Mapping[str, str]) -> Address | None:
    """Return where the environment says the database is; None where it names none.

    Raises:
        PostgresqlUnavailable: the extra is not installed, or nobody can read what is said there.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise PostgresqlUnavailable(
            f"{VARIABLE} is set, and psycopg cannot be imported: "
            f"pip install 'penstock[postgresql]', or unset {VARIABLE}"
        ) from error
    try:
        told = conninfo_to_dict(text)
    except (psycopg.Error, ValueError):
        known = False
    else:
        known = True
    if not known:  # outside of the handler: the library's error shows all of the text
        raise PostgresqlUnavailable(
            f"{VARIABLE} is no address of a database: give a URL like postgresql://user@host/name"
        )
    secrets = [str(told[key]) for key in ("password", "sslpassword") if told.get(key)]
    return Address(text, (text, *secrets))


def patience_of(text: str) -> dict[str, Any]:
    """Return how long is waited for what, as libpq names it, where the address does not say it."""
    from psycopg.conninfo import conninfo_to_dict

    usual = {
        "application_name": "penstock",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": SILENT_S,
        "keepalives_interval": CONNECT_TIMEOUT_S,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENT_S * 1000,
    }
    told = conninfo_to_dict(text)
    return {key: value for key, value in usual.items() if key not in told}
