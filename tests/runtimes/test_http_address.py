from __future__ import annotations

import pytest

from penstock.runtimes.http_address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address", "authority"),
    [
        ("localhost:8000", Address("localhost", 8000), "localhost:8000"),
        ("http://svc.ns:8000", Address("svc.ns", 8000), "svc.ns:8000"),
        ("http://svc", Address("svc", 80), "svc"),
        ("https://svc/", Address("svc", 443, "", tls=True), "svc"),
        ("https://svc:80/a/b/", Address("svc", 80, "/a/b", tls=True), "svc:80"),
        ("http://10.0.0.1:1/iris", Address("10.0.0.1", 1, "/iris"), "10.0.0.1:1"),
        ("http://[::1]:8000/x", Address("::1", 8000, "/x"), "[::1]:8000"),
    ],
)
def test_addresses_are_taken_apart(text: str, address: Address, authority: str) -> None:
    assert parse_address(text) == address
    assert address.authority == authority


def test_an_address_is_printed_with_its_port() -> None:
    assert str(Address("svc", 80)) == "svc:80"
    assert str(Address("::1", 80)) == "[::1]:80"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "is no address: write host:port"),
        ("http://", "is no address: write host:port"),
        ("ftp://svc:21", "begins with ftp://"),
        ("http://svc:99999", "is no address: Port out of range"),
        ("http://svc:x", "is no address: Port could not be cast"),
        ("http://svc:0", "is no address: write host:port"),
        ("http://[::1", "is no address: Invalid IPv6 URL"),
        ("http://svc/?a=1", "has a query or a fragment"),
        ("http://svc/#a", "has a query or a fragment"),
        ("http://svc/a b", "has characters that a URL cannot have"),
        ("http://svc/\u00e4", "has characters that a URL cannot have"),
        ("http://s vc/", "is no address: write host:port"),
        ("http://-svc/", "is no address: write host:port"),
    ],
)
def test_what_is_no_address_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_address(text)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="has a user name in it") as caught:
        parse_address("http://somebody:hunter2@svc:8000")
    assert "hunter2" not in str(caught.value)
    assert "somebody" not in str(caught.value)
