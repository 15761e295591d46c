"""No request leaves for an address inside: the guard against server-side request forgery.

It sits where a socket is made for an address already resolved, so it sees literals, redirects, names that answer with
an inner address, names that change their answer, and robots.txt fetches alike.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

WEB_PORTS = frozenset({80, 443, 8000, 8008, 8080, 8443})

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


class BlockedAddressError(OSError):
    """The address is not one that this crawler may connect to; `code` is the word that is stored."""

    code = "blocked_address"

    def __init__(self) -> None:
        # One text for all: the connector merges the errors of a name's addresses only if they read the same.
        super().__init__("the address is not public, or the port not one of the web's")


class BlockedPortError(BlockedAddressError):
    """The port is not one that web servers use: other services must not be talked to in HTTP."""

    code = "blocked_port"


def unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped, NAT64 or 6to4 one; the standard library calls the wrappers global."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return inner
    return address


def is_allowed(text: str, *, allow_private: bool) -> bool:
    """Whether a connection to this address may be made.

    Args:
        text: A numeric address, possibly with a zone (`fe80::1%eth0`).
        allow_private: Also allow loopback and private networks. Link-local addresses, where clouds keep the
            credentials of their machines, stay refused.
    """
    try:
        address = unwrap(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        # A host written as one number is passed on unread; what it stands for is nobody's business here.
        return False
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return False
    if address.is_global:
        return True
    if isinstance(address, ipaddress.IPv4Address) and (address in _THIS_NETWORK or address.is_reserved):
        return False
    return allow_private and (address.is_loopback or address.is_private)


def guarded_sockets(*, allow_private: bool) -> Callable[[AddressInfo], socket.socket]:
    """A socket factory for aiohttp's connector that raises `BlockedAddressError` for inner addresses.

    Other ports than `WEB_PORTS` are refused too, unless `allow_private` is set: local servers take any port.
    """

    def make_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, where = info
        if not is_allowed(str(where[0]), allow_private=allow_private):
            raise BlockedAddressError
        if not allow_private and where[1] not in WEB_PORTS:
            raise BlockedPortError
        return socket.socket(family=family, type=kind, proto=protocol)

    return make_socket
