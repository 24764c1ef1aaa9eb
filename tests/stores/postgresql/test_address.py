"""Where the database is, as the environment says it; nobody is asked."""

from __future__ import annotations

import sys

import pytest

from penstock.stores.postgresql.address import (
    CONNECT_TIMEOUT_S,
    SILENT_S,
    VARIABLE,
    PostgresqlUnavailable,
    address_in,
    patience_of,
)


def test_no_address_no_database() -> None:
    assert address_in({}) is None
    assert address_in({VARIABLE: " "}) is None


@pytest.mark.parametrize("text", ["postgres//anna:open-sesame@host/db", "host=a password", "x:%"])
def test_an_address_that_nobody_can_read_is_not_shown(text: str) -> None:
    with pytest.raises(PostgresqlUnavailable, match="is no address of a database") as raised:
        address_in({VARIABLE: text})
    assert "sesame" not in raised.value.message
    assert raised.value.__context__ is None


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PostgresqlUnavailable, match=r"pip install 'penstock\[postgresql\]'"):
        address_in({VARIABLE: "postgresql://host/db"})


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://anna:open-sesame@host/db", "open-sesame"),
        ("host=there user=anna password='open sesame'", "open sesame"),
        ("host=there sslpassword=of-the-key", "of-the-key"),
    ],
)
def test_an_address_shows_no_secret(text: str, secret: str) -> None:
    address = address_in({VARIABLE: f" {text} "})
    assert address is not None
    assert address.text == text
    assert secret not in repr(address)
    assert address.without_secrets(f"at {text} by {secret}") == "at *** by ***"


def test_an_address_without_a_password_is_a_secret_as_a_whole() -> None:
    address = address_in({VARIABLE: "host=there"})
    assert address is not None
    assert address.secrets == ("host=there",)


def test_what_an_address_says_of_patience_counts() -> None:
    assert patience_of("host=there") == {
        "application_name": "penstock",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": SILENT_S,
        "keepalives_interval": CONNECT_TIMEOUT_S,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENT_S * 1000,
    }
    told = patience_of("host=there connect_timeout=3 application_name=mine tcp_user_timeout=0")
    assert sorted(told) == ["keepalives_count", "keepalives_idle", "keepalives_interval"]
