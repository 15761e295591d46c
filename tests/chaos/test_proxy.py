from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace.local.ports import LOOPBACK, is_free

from .lasting_port import lasting_port
from .mongo_wire import RenamesMembers
from .proxy import Disturbance, Link

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture
async def link() -> AsyncIterator[Link]:
    """A link to a server that says everything back in capitals."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                heard.append(data)
                writer.write(data.upper())
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    heard.clear()
    server = await asyncio.start_server(serve, LOOPBACK, 0)
    link = Link("a>b", server.sockets[0].getsockname()[1])
    await link.start()
    opened.clear()
    yield link
    for writer in opened:
        writer.transport.abort()
    await link.close()
    server.close()
    await asyncio.sleep(0)  # aborted transports say goodbye in the loop's next turn


heard: list[bytes] = []
opened: list[asyncio.StreamWriter] = []


async def connect(link: Link) -> Streams:
    reader, writer = await asyncio.open_connection(LOOPBACK, link.port)
    opened.append(writer)
    return reader, writer


async def read_all(streams: Streams) -> bytes:
    return await asyncio.wait_for(streams[0].read(), 2)


async def ask(streams: Streams, text: bytes, *, within: float = 2.0) -> bytes:
    streams[1].write(text)
    return await asyncio.wait_for(streams[0].read(1000), within)


async def test_without_a_fault_everything_passes(link: Link) -> None:
    streams = await connect(link)
    assert await ask(streams, b"hello") == b"HELLO"


async def test_latency_holds_each_reply_up(link: Link) -> None:
    streams = await connect(link)
    (late,) = link.lay(lambda: Disturbance(latency_s=0.1), "down")
    began = asyncio.get_running_loop().time()
    assert await ask(streams, b"hello") == b"HELLO"
    assert asyncio.get_running_loop().time() - began >= 0.1
    assert late.hits == 1


async def test_a_black_hole_keeps_what_comes_and_gives_it_when_it_heals(link: Link) -> None:
    streams = await connect(link)
    (hole,) = link.lay(lambda: Disturbance(holds=True), "up")
    with pytest.raises(TimeoutError):
        await ask(streams, b"hello", within=0.1)
    assert heard == [], "the other direction alone would have let it through"
    link.lift(hole)
    assert await asyncio.wait_for(streams[0].read(1000), 2) == b"HELLO"


async def test_dropped_replies_were_done_and_the_connection_is_reset_when_it_heals(link: Link) -> None:
    streams = await connect(link)
    (dropping,) = link.lay(lambda: Disturbance(drops=True), "down")
    with pytest.raises(TimeoutError):
        await ask(streams, b"hello", within=0.1)
    assert heard == [b"hello"]
    link.lift(dropping)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(streams[0].read(1000), 2)
    assert await ask(await connect(link), b"again") == b"AGAIN"


async def test_a_cut_lets_so_many_bytes_through_and_resets(link: Link) -> None:
    streams = await connect(link)
    (cut,) = link.lay(lambda: Disturbance(cut_after=3), "up")
    streams[1].write(b"hello")
    with pytest.raises(ConnectionResetError):
        await read_all(streams)
    assert b"".join(heard) in {b"hel", b""}, "the rest never came; the beginning may be lost to the reset"
    assert cut.hits == 1


async def test_a_fault_that_ends_ends_itself_alone(link: Link) -> None:
    streams = await connect(link)
    (late,) = link.lay(lambda: Disturbance(latency_s=0.01), "up")
    (cut,) = link.lay(lambda: Disturbance(cut_after=8), "up")
    assert await ask(streams, b"hello") == b"HELLO"
    link.lift(late)
    assert (late.hits, cut.hits) == (1, 0), "each counts what it touched"
    streams[1].write(b"hello")
    with pytest.raises(ConnectionResetError):
        await read_all(streams)
    assert (late.hits, cut.hits) == (1, 1)


async def test_a_reset_ends_what_is_open_and_nothing_later(link: Link) -> None:
    streams = await connect(link)
    await ask(streams, b"hello")
    assert link.reset() == 1
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(streams[0].read(1000), 2)
    assert await ask(await connect(link), b"again") == b"AGAIN"


def test_members_are_renamed_in_whole_messages_however_they_are_cut() -> None:
    rename = RenamesMembers({"127.0.0.1:40001": "127.0.0.1:50001"})
    text = b"hosts 127.0.0.1:40001 end"
    message = struct.pack("<i", 4 + len(text)) + text
    given = b"".join(rename((message * 2)[at : at + 7]) for at in range(0, len(message) * 2, 7))
    assert given == message.replace(b"40001", b"50001") * 2


def test_a_name_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        RenamesMembers({"127.0.0.1:40001": "127.0.0.1:5001"})


def test_a_service_keeps_its_port_while_it_is_down() -> None:
    ports = {lasting_port() for _ in range(20)}
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(ports) > 15, "two runs beside each other do not choose the same"
    assert all(is_free(port) and port < lowest for port in ports), "the kernel gives them to nobody"
