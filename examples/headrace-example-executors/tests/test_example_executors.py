"""The three examples, tested as their author would: in this process, with `headrace.testing`."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.contracts.executor import PermanentError, Retry
from headrace.testing.boundary import Boundary
from headrace.testing.ended import Status
from headrace.testing.kills import run_with_kills
from headrace.testing.kit import ExecutorKit
from headrace_example_executors.digest import Digest
from headrace_example_executors.primes import Primes, primes_between
from headrace_example_executors.word_count import WordCount

BODY = b"0123456789" * 20_000


@pytest.fixture
async def site() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=BODY)

    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "7"})

    app = web.Application()
    app.router.add_get("/file", answer)
    app.router.add_get("/busy", busy)
    async with TestServer(app) as server:
        yield server


async def test_a_digest_is_that_of_the_whole_answer(site: TestServer) -> None:
    report = await run_with_kills(Digest, {"url": str(site.make_url("/file"))}, at_progress=True, at_most=6)
    ended = report.uninterrupted
    assert ended.result == {"sha256": hashlib.sha256(BODY).hexdigest(), "bytes": len(BODY)}
    assert ended.progress[-1] == (1.0, f"{len(BODY)} bytes")


async def test_a_digest_tries_again_what_may_pass_and_gives_up_what_will_not(site: TestServer) -> None:
    kit = ExecutorKit(Digest)
    busy = await kit.run({"url": str(site.make_url("/busy"))})
    assert busy.status is Status.RETRY
    assert isinstance(busy.error, Retry)
    assert busy.error.delay_seconds == 7
    for url, fields in (("/nothing", {}), ("/file", {"limit_bytes": 1000})):
        refused = await kit.run({"url": str(site.make_url(url)), **fields})
        assert (refused.status, type(refused.error)) == (Status.FAILED, PermanentError)
    url = str(site.make_url("/file"))
    await site.close()
    gone = await kit.run({"url": url})
    assert gone.status is Status.RETRY, "whoever does not answer may do so later"
    assert (await kit.run({"url": "ftp://x/"})).status is Status.FAILED


async def test_words_are_counted_without_regard_to_case() -> None:
    report = await run_with_kills(WordCount, {"text": "To be, or\nnot to BE", "top": 2}, at_progress=True)
    assert report.uninterrupted.result == {"words": 6, "distinct": 4, "top": [["be", 2], ["to", 2]]}


async def test_a_word_count_stops_when_it_is_cancelled() -> None:
    text = "a line\n" * 5000
    ended = await ExecutorKit(WordCount).run({"text": text}, cancel=Boundary.after_progress(2))
    assert (ended.status, ended.has_returned) == (Status.CANCELLED, False)


async def test_primes_are_counted_once_wherever_the_process_dies() -> None:
    report = await run_with_kills(Primes, {"up_to": 1000, "piece": 100}, at_progress=True)
    assert report.uninterrupted.result == {"count": 168, "largest": 997}
    assert len(report.uninterrupted.checkpoints) == 10


@pytest.mark.parametrize(("up_to", "count"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (100, 25)])
async def test_the_edges_of_the_sieve(up_to: int, count: int) -> None:
    for piece in (1, 7, 1000):
        ended = await ExecutorKit(Primes).run({"up_to": up_to, "piece": piece})
        assert isinstance(ended.result, dict)
        assert ended.result["count"] == count
    assert primes_between(90, 98) == [97]


async def test_payloads_of_the_first_version_are_still_read() -> None:
    ended = await ExecutorKit(Primes).run({"limit": 100}, version=1)
    assert ended.result == {"count": 25, "largest": 97}
    assert (await ExecutorKit(Primes).run({"up_to": 9}, version=3)).status is Status.RETRY
