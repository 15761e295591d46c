from __future__ import annotations

import socket
from pathlib import Path

import pytest

from headrace.contracts.config import JobConfig
from headrace.contracts.errors import ConfigError
from headrace.runtime.process.listen import check_access, is_loopback, listen, url_of


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_known(host):
    assert is_loopback(host)
    check_access(JobConfig(http_host=host))


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_every_other_address_needs_tokens(host):
    with pytest.raises(ConfigError, match="headrace token new"):
        check_access(JobConfig(http_host=host))
    check_access(JobConfig(http_host=host, api_tokens_file=Path("tokens.toml")))


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def test_port_zero_takes_a_free_port_and_the_url_names_it():
    sockets = listen("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    assert url_of(sockets[0], "/jobs") == f"http://127.0.0.1:{port}/jobs"
    close(sockets)


def test_every_address_of_a_name_gets_the_same_port():
    sockets = listen("localhost", 0)
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    close(sockets)


def test_a_wildcard_is_shown_as_an_address_that_can_be_opened():
    sockets = listen("0.0.0.0", 0)
    assert url_of(sockets[0], "").startswith("http://127.0.0.1:")
    close(sockets)


def test_a_taken_port_is_named():
    sockets = listen("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use.*JOB_HTTP_PORT"):
        listen("127.0.0.1", port)
    close(sockets)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300])
def test_an_unknown_host_is_refused(host):
    with pytest.raises(ConfigError, match="JOB_HTTP_HOST"):
        listen(host, 0)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)
