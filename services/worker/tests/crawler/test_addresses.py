"""Requests reach public addresses only, whatever way they are written or come by."""

from __future__ import annotations

import socket

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from headrace.worker.crawler.addresses import (
    WEB_PORTS,
    BlockedAddressError,
    BlockedPortError,
    guarded_sockets,
    is_allowed,
)
from headrace.worker.crawler.fetch import FetchError, fetch, make_session

PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1"]
PRIVATE = [
    "127.0.0.1",
    "::1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:c0a8:1::1",
]
NEVER = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fe80::1%eth0",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address):
    assert is_allowed(address, allow_private=False)


@pytest.mark.parametrize("address", PRIVATE + NEVER)
def test_inner_addresses_are_refused_in_every_wrapping(address):
    assert not is_allowed(address, allow_private=False)
    with pytest.raises(BlockedAddressError):
        guarded_sockets(allow_private=False)((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_open_when_allowed(address):
    assert is_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_addresses_of_the_link_and_of_nobody_stay_refused(address):
    assert not is_allowed(address, allow_private=True)


def test_carrier_grade_nat_is_not_public():
    assert not is_allowed("100.64.0.1", allow_private=False)


def socket_for(address, port, *, allow_private):
    with guarded_sockets(allow_private=allow_private)((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))):
        pass


@pytest.mark.parametrize("port", sorted(WEB_PORTS))
def test_the_ports_of_the_web_are_open(port):
    socket_for("93.184.216.34", port, allow_private=False)


@pytest.mark.parametrize("port", [22, 25, 6379, 27017, 0])
def test_ports_of_other_services_are_refused(port):
    with pytest.raises(BlockedPortError) as refused:
        socket_for("93.184.216.34", port, allow_private=False)
    # Texts alike, or the client would not tell which it was when a name has several addresses.
    assert str(refused.value) == str(BlockedAddressError())
    socket_for("127.0.0.1", port, allow_private=True)


class FixedResolver(AbstractResolver):
    """Answers every name with one address, as a hostile name server would."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in self.addresses
        ]

    async def close(self) -> None:
        return None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
async def test_no_spelling_of_loopback_is_asked(site, crawl, host):
    port = site.origin.rpartition(":")[2]

    pages = await crawl(f"http://{host}:{port}/", allow_private=False, max_retries=0)

    ((state, error),) = [(page.state, page.error) for page in pages.values()]
    # The client itself refuses hosts that are a bare number.
    assert (state, error) == ("failed", "bad_response" if host.isdigit() else "blocked_address")
    assert not site.hits


def test_what_is_no_address_is_refused():
    assert not is_allowed("2130706433", allow_private=True)


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.1", "::1")])
@pytest.mark.parametrize("respect_robots", [True, False])
async def test_a_name_that_answers_with_loopback_is_refused_at_once(site, crawl, addresses, respect_robots):
    port = site.origin.rpartition(":")[2]

    pages = await crawl(
        f"http://looks.public.example:{port}/",
        allow_private=False,
        respect_robots=respect_robots,
        resolver=FixedResolver(*addresses),
    )

    (page,) = pages.values()
    assert (page.state, page.error) == ("failed", "blocked_address")
    assert page.tries <= 1
    assert not site.hits


async def test_a_redirect_to_an_inner_address_is_refused(site, crawl):
    # Link-local stays refused even where loopback is open, so one site can play both parts.
    site.redirect("/", "http://169.254.169.254/latest/meta-data/")

    pages = await crawl(same_host=False, max_retries=0)

    assert {(page.state, page.error) for page in pages.values()} == {("failed", "blocked_address")}
    assert len(pages) == 2


async def test_a_port_of_another_service_is_stored_as_such(crawl):
    # Nothing is sent: the refusal comes before the socket is made.
    pages = await crawl("http://mail.example:25/", allow_private=False, resolver=FixedResolver("93.184.216.34"))

    (page,) = pages.values()
    assert (page.state, page.error) == ("failed", "blocked_port")


class TurningResolver(FixedResolver):
    """Answers with the next address each time, as a name that is rebound does."""

    async def resolve(self, host, port=0, family=socket.AF_INET):
        answer = (await super().resolve(host, port, family))[:1]
        self.addresses = (*self.addresses[1:], self.addresses[0])
        return answer


async def test_a_name_that_turns_inside_after_its_first_answer_is_refused(site):
    site.pages["/"] = web.Response(text="fine", headers={"Connection": "close"})
    resolver = TurningResolver("127.0.0.1", "169.254.169.254")
    port = site.origin.rpartition(":")[2]
    async with make_session(user_agent="x", allow_private=True, resolver=resolver) as session:
        limits = {"timeout_seconds": 5, "max_bytes": 1000}
        assert (await fetch(session, f"http://rebound.example:{port}/", **limits)).status == 200
        # As when the answer of the name server has expired.
        session.connector.clear_dns_cache()
        with pytest.raises(FetchError, match="blocked_address"):
            await fetch(session, f"http://rebound.example:{port}/again", **limits)


async def test_a_robots_txt_that_redirects_inside_is_refused(site, crawl):
    site.page("/")
    site.redirect("/robots.txt", "http://169.254.169.254/robots.txt")

    assert (await crawl(max_retries=0))["/"].error == "blocked_address"
