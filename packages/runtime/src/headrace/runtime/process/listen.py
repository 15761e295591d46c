"""Where a service listens, and which addresses are its own machine's only."""

from __future__ import annotations

import errno
import ipaddress
import socket

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import ConfigError

BACKLOG = 1024


def check_access(config: JobConfig) -> None:
    """Refuse an address that others can reach while no tokens are configured.

    Raises:
        ConfigError: Says how to make a token.
    """
    if config.api_tokens_file is None and not is_loopback(config.http_host):
        raise ConfigError(
            "JOB_HTTP_HOST is not a loopback address and JOB_API_TOKENS_FILE is not set: everybody who reaches the "
            "port could do everything. Make a token with 'headrace token new NAME --scopes admin', put the table it "
            "prints into a file and name that file in JOB_API_TOKENS_FILE, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than localhost counts as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of `host`, all on one port.

    They listen before the application starts, so two services can never both believe that a port is theirs.

    Args:
        host: An address or a name; empty for every address.
        port: 0 takes a free one.

    Raises:
        ConfigError: The host is unknown, the port is taken or may not be used.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigError("JOB_HTTP_HOST is not an address or name of this machine") from None
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((info[0], str(info[4][0])) for info in found):
            chosen = sockets[0].getsockname()[1] if sockets else port
            bound = _bind(family, address, chosen, required=not sockets)
            if bound is not None:
                sockets.append(bound)
    except ConfigError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def url_of(sock: socket.socket, base_path: str) -> str:
    """How the socket is reached from this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- recognised, not bound
    return f"http://[{host}]:{port}{base_path}" if ":" in host else f"http://{host}:{port}{base_path}"


def _bind(family: int, address: str, port: int, *, required: bool) -> socket.socket | None:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {address} is in use; stop what listens there or set JOB_HTTP_PORT"
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"port {port} needs privileges; set JOB_HTTP_PORT to one above 1023") from None
        if required:
            raise ConfigError(f"cannot listen on {address}: {error.strerror}; check JOB_HTTP_HOST") from None
        return None  # a machine without IPv6 still names ::1 as localhost
    sock.setblocking(False)
    return sock
