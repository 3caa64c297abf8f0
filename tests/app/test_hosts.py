"""By which names the page is asked for, and whether it asks itself."""

import pytest
from starlette.datastructures import Headers

from ferlib.app.hosts import Hosts, hostname
from ferlib.app.request_checks import Refused


@pytest.mark.parametrize(
    ("netloc", "name"),
    [("Example.org:80", "example.org"), ("[::1]:7860", "::1"), ("::1", "::1"), ("localhost.", "localhost"), ("", "")],
)
def test_hostname(netloc, name):
    assert hostname(netloc) == name


@pytest.mark.parametrize(
    ("bound", "allowed", "name", "mine"),
    [
        ("127.0.0.1", [], "localhost:7860", True),
        ("127.0.0.1", [], "127.0.0.1", True),
        ("127.0.0.1", [], "[::1]:7860", True),
        ("::1", [], "[::1]:7860", True),
        ("127.0.0.1", [], "192.168.0.7", False),
        ("127.0.0.1", [], "faces.example", False),
        ("127.0.0.1", ["faces.example"], "Faces.Example:443", True),
        ("127.0.0.1", ["faces.example"], "evil.faces.example", False),
        ("0.0.0.0", [], "192.168.0.7:7860", True),
        ("0.0.0.0", [], "faces.example", False),
        ("0.0.0.0", ["*"], "faces.example", True),
        ("::", [], "[fe80::1]:7860", True),
        ("192.168.0.7", [], "192.168.0.7:7860", True),
    ],
)
def test_names(bound, allowed, name, mine):
    hosts = Hosts(bound, allowed)
    if mine:
        assert hosts.require(Headers({"host": name})) is False
    else:
        with pytest.raises(Refused, match="does not answer to that name"):
            hosts.require(Headers({"host": name}))


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, True),
        ({"host": "localhost:7860", "origin": "http://localhost:3000"}, None),
        ({"host": "localhost:7860", "origin": "null"}, None),
        ({"host": "localhost:7860", "origin": "https://faces.example"}, True),  # a proxy that calls us by our address
        ({"host": "127.0.0.1", "x-forwarded-host": "faces.example", "origin": "https://faces.example"}, True),
        ({"host": "127.0.0.1", "x-forwarded-host": "evil.example", "origin": "https://evil.example"}, None),
        ({"host": "localhost"}, False),
        ({}, None),
    ],
)
def test_who_asks(headers, own):
    hosts = Hosts("127.0.0.1", ["faces.example"])
    if own is None:
        with pytest.raises(Refused):
            hosts.require(Headers(headers))
    else:
        assert hosts.require(Headers(headers)) is own


@pytest.mark.parametrize("origin", ["http://[", "null", "", "http://evil.example"])
def test_another_site_is_refused_whatever_it_calls_itself(origin):
    with pytest.raises(Refused, match="Another site") as refusal:
        Hosts("127.0.0.1", []).require(Headers({"host": "localhost", "origin": origin}))
    assert refusal.value.status == 403
