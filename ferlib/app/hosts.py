"""By which names the page may be asked for: a foreign site must not reach it through its visitors' browsers."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ferlib.app.request_checks import Refused

ANYBODY = "*"


class Hosts:
    """The names of a server.

    A page that a visitor has open elsewhere can have its own name point to this machine (DNS rebinding), and then reads
    what it likes; its name in the `Host` header tells. So a server that listens to its own machine only answers to
    names of the loopback, one that listens to a network also to its IP addresses and to this machine's name, and both
    to the names they are given.

    Args:
        bound: the address the server listens at.
        allowed: further names; "*" is any.
    """

    def __init__(self, bound: str, allowed: Iterable[str] = ()):
        self.given = {hostname(name) for name in allowed}
        self.anybody = ANYBODY in self.given
        self.public = not _is_loopback(bound)
        self.names = {"localhost", hostname(bound), *self.given}
        self.names |= {socket.gethostname().lower()} if self.public else set()

    def require(self, headers: Headers) -> bool:
        """True if the page itself asks: browsers say so by `Origin`.

        Raises:
            Refused: the server is called by a name that is not its own, or another site asks.
        """
        called = [*headers.getlist("host"), *re.split(r"\s*,\s*", headers.get("x-forwarded-host", ""))]
        called = [name.strip() for name in called if name.strip()]
        if not called or not headers.get("host"):
            raise Refused(400, "The request does not say whom it is for.")
        for name in called:
            if not self._mine(hostname(name)):
                raise Refused(403, "This server does not answer to that name; --allowed-host NAME lets it.")
        origin = headers.get("origin")
        if origin is None:
            return False
        try:
            there = urlsplit(origin).netloc.lower()
        except ValueError:  # with half a bracket, say
            there = ""
        if there and (there in map(str.lower, called) or hostname(there) in self.given):
            return True
        raise Refused(403, "Another site asks in a visitor's name.")

    def _mine(self, name: str) -> bool:
        if self.anybody or name in self.names or _is_loopback(name):
            return True
        return self.public and _address(name) is not None  # nobody can make a name of a number


def hostname(netloc: str) -> str:
    """ "Example.org:80" -> "example.org", "[::1]:7860" -> "::1"."""
    name = netloc.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return (name if name.count(":") > 1 else name.partition(":")[0]).rstrip(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(hostname(name))
    return hostname(name) == "localhost" or (address is not None and address.is_loopback)
