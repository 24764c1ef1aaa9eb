from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.spec.decode import decode
from penstock.spec.read import read_text
from penstock.spec.remote import FORMS, check_remote, is_remote, wrong_address
from penstock.spec.tree import Model


def said(model: str, **environment: str) -> list[str]:
    source = read_text(f"models:\n  m: {model}\nroutes: {{a: m}}\n", environment)
    spec, problems = decode(source)
    assert problems == ()
    assert spec is not None
    return [str(one).removeprefix("spec:2: ") for one in check_remote(spec, source.lines)]


# --- addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "far:9000",
        "far.example:1",
        "far_away:65535",
        "far.ns.svc.cluster.local.:80",
        "10.0.0.1:8000",
        "[::1]:8000",
        "[2001:db8::7]:8000",
        "http://far",
        "http://far:8080",
        "http://far/",
        "http://far:8080/v2/models/iris/versions/1",
        "http://[::1]",
        "http://[::1]:80/x",
        "https://far.example/iris",
        "x:1",
        "http:80",
    ],
)
def test_addresses(address: str) -> None:
    assert wrong_address(address) is None


@pytest.mark.parametrize(
    ("address", "sentence", "hint"),
    [
        ("", "the host is missing", FORMS),
        (":80", "the host is missing", FORMS),
        ("http://", "the host is missing", FORMS),
        ("http:///x", "the host is missing", FORMS),
        ("far", '"far" has no port', "write far:8000, or http://far for port 80"),
        ("[::1]", '"[::1]" has no port', "write [::1]:8000, or http://[::1] for port 80"),
        ("far:", 'the port is a number from 1 to 65535, not ""', ""),
        ("far:0", 'the port is a number from 1 to 65535, not "0"', ""),
        ("far:65536", 'the port is a number from 1 to 65535, not "65536"', ""),
        ("far:http", 'the port is a number from 1 to 65535, not "http"', ""),
        ("far:+80", 'the port is a number from 1 to 65535, not "+80"', ""),
        ("far:1:2", 'the port is a number from 1 to 65535, not "1:2"', ""),
        ("http://far:000080", 'the port is a number from 1 to 65535, not "000080"', ""),
        ("::1", "the host is missing", FORMS),
        ("[::1", '"[::1" is no host and port', FORMS),
        ("[::1]x:80", '"[::1]x:80" is no host and port', FORMS),
        ("[far]:80", '"far" is no IPv6 address', FORMS),
        ("[fe80::1%eth0]:80", '"fe80::1%eth0" is no IPv6 address', FORMS),
        ("-far:80", '"-far" is no name of a host', FORMS),
        ("fa$r:80", '"fa$r" is no name of a host', FORMS),
        ("fa r:80", "an address has no spaces, and only letters of ASCII", FORMS),
        ("far:80\n", "an address has no spaces, and only letters of ASCII", FORMS),
        ("fär:80", "an address has no spaces, and only letters of ASCII", FORMS),
        ("http://me:secret@far", "an address has no user name and no password in it", FORMS),
        ("me@far:80", "an address has no user name and no password in it", FORMS),
        ("ftp://far", '"ftp" is neither http nor https', FORMS),
        ("HTTP://far", '"HTTP" is neither http nor https', FORMS),
        ("://far", '"" is neither http nor https', FORMS),
        ("http://far?x=1", 'an address ends with its path; "?x=1" is too much', ""),
        ("http://far/a#b", 'an address ends with its path; "#b" is too much', ""),
        (
            "far:80/x",
            '"far:80/x" has a path, so it must begin with http:// or https://',
            "",
        ),
        ("/x", '"/x" has a path, so it must begin with http:// or https://', ""),
    ],
)
def test_what_is_no_address(address: str, sentence: str, hint: str) -> None:
    assert wrong_address(address) == (sentence, hint)


@given(st.text() | st.from_regex(r"(https?://)?[a-z@.\[\]:]{0,9}(:[0-9]{0,6})?(/[a-z?#]{0,4})?"))
def test_whatever_is_no_address_is_told_in_a_sentence(address: str) -> None:
    wrong = wrong_address(address)
    if wrong is None:
        assert address.isascii()
        assert not set(address) & set(" @?#")
        assert ":" in address
    else:
        assert wrong[0]


@given(st.sampled_from(["", "http://", "https://"]), st.text("secret", min_size=6), st.text())
def test_what_stands_before_an_at_sign_is_never_said(scheme: str, secret: str, rest: str) -> None:
    wrong = wrong_address(f"{scheme}me:{secret}@{rest}")
    assert wrong is not None
    assert secret not in wrong[0].replace("user name and no password", "")


# --- models ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "remote"),
    [
        (Model(path="a.onnx"), False),
        (Model(url="far:80"), True),
        (Model(urls=("far:80",)), True),
    ],
)
def test_a_model_with_an_address_is_remote(model: Model, *, remote: bool) -> None:
    assert is_remote(model) is remote


@pytest.mark.parametrize(
    "model",
    [
        "{url: 'far:80'}",
        "{urls: ['far:80', 'http://far/x']}",
        "{url: 'far:80', path: a.onnx, labels: [a], sample: [[1]], output: y, protocol: oip}",
        "{path: a.onnx, url: ''}",
        "{path: a.onnx, url: '${FAR:-}', protocol: oip, threads: 2, execution: inline}",
        "{path: a.onnx, urls: [], protocol: oip}",
        "{path: a.onnx, threads: 2}",
    ],
)
def test_what_is_as_it_should_be(model: str) -> None:
    assert said(model) == []


@pytest.mark.parametrize(
    ("model", "problems"),
    [
        (
            "{url: far}",
            ['models.m.url: "far" has no port; write far:8000, or http://far for port 80'],
        ),
        (
            "{urls: ['far:80', '', 'ftp://x']}",
            [
                f"models.m.urls[1]: the host is missing; {FORMS}",
                f'models.m.urls[2]: "ftp" is neither http nor https; {FORMS}',
            ],
        ),
        (
            "{url: 'far:80', runtime: 'm:f', execution: thread, threads: 2, providers: [x],"
            " preprocess: {}}",
            [
                f"warning: models.m.{key}: {key} does nothing for a remote model"
                for key in ("runtime", "execution", "threads", "providers", "preprocess")
            ],
        ),
        (
            "{path: a.onnx, protocol: oip}",
            ["warning: models.m.protocol: protocol does nothing without url or urls"],
        ),
    ],
)
def test_what_is_not(model: str, problems: list[str]) -> None:
    assert said(model) == problems


def test_an_address_may_come_from_the_environment() -> None:
    model = "{path: a.onnx, url: '${FAR:-}'}"
    assert said(model, FAR="far:80") == []
    assert said(model, FAR="far") == [
        'models.m.url: "far" has no port; write far:8000, or http://far for port 80'
    ]
