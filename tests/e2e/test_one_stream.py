"""The pages of one browser share one event stream, and none of them is left behind."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest
from e2e_browser import Watch
from e2e_stack import Stack
from playwright.sync_api import Page, expect


class Streams:
    """Counts the streams that are open at the server."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def __call__(self) -> int:
        with urllib.request.urlopen(self._stack.monitor + "/metrics", timeout=10) as answer:
            found = re.search(r"^job_monitor_streams (\d+)", answer.read().decode(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def until(self, number: int) -> None:
        self._stack.until(lambda: self() == number, what=f"{number} streams")


@pytest.fixture
def streams(page: Page, stack: Stack) -> Streams:
    """Those that are open have to end first: the server notices within a second or two."""
    page.goto("about:blank")  # signing in has left it on a page that is live
    found = Streams(stack)
    found.until(0)
    return found


@pytest.fixture
def beside(page: Page, stack: Stack) -> Iterator[Page]:
    """A second tab of the same browser."""
    other = page.context.new_page()
    watch = Watch(other, stack.monitor)
    yield other
    watch.judge()


def follows(page: Page, stack: Stack) -> None:
    """The page of a job shows within seconds that it is cancelled."""
    stack.api("POST", f"/v1/jobs/{page.url.rsplit('/', 1)[-1]}/cancel")
    expect(page.locator("[data-region=state]")).to_contain_text("cancelled")


def waiting(stack: Stack) -> str:
    return stack.submit("test.sleep", {}, delay_seconds=3600)


def queued(stack: Stack) -> str:
    """How many jobs wait by the scheduler: what the overview's tile must come to show."""
    return str(len(stack.api("GET", "/v1/jobs?state=queued&limit=200")["jobs"]))


def test_two_tabs_have_one_stream_and_the_second_takes_it_over(page: Page, beside: Page, stack: Stack, streams):
    page.goto(f"/jobs/{waiting(stack)}")
    expect(page.locator("#live")).to_contain_text("live")
    streams.until(1)
    beside.goto("/")
    tile = beside.locator("[data-region=tiles] a[href*=queued] .figure")
    expect(tile).to_have_text(queued(stack))
    third = page.context.new_page()
    third.goto(f"/jobs/{waiting(stack)}")
    expect(tile).to_have_text(queued(stack))
    streams.until(1)
    follows(page, stack)
    streams.until(1)  # its job is over: it takes no part any more, and the stream went to one of the others
    page.close()
    expect(beside.locator("#live")).to_contain_text("live")
    follows(third, stack)
    expect(tile).to_have_text(queued(stack))  # else a cancelled job and a new one would leave it as it was
    waiting(stack)
    expect(tile).to_have_text(queued(stack))
    streams.until(1)
    beside.close()
    streams.until(0)


def test_the_tab_that_holds_the_stream_closes_and_the_other_goes_on(page: Page, beside: Page, stack: Stack, streams):
    page.goto("/")
    expect(page.locator("#live")).to_contain_text("live")
    streams.until(1)
    beside.goto(f"/jobs/{waiting(stack)}")
    page.close()
    follows(beside, stack)


def test_a_tab_that_is_hidden_gives_the_stream_away(page: Page, beside: Page, stack: Stack, streams):
    page.goto("/")
    streams.until(1)
    beside.goto(f"/jobs/{waiting(stack)}")
    page.evaluate(
        """Object.defineProperty(document, "hidden", {value: true});
        document.dispatchEvent(new Event("visibilitychange"))"""
    )
    streams.until(1)
    follows(beside, stack)
    streams.until(0)


def test_a_tab_that_hears_nothing_takes_the_stream_away(page: Page, beside: Page, stack: Stack, streams):
    page.goto("/")
    streams.until(1)
    beside.goto(f"/jobs/{waiting(stack)}")
    expect(beside.locator("#live")).to_contain_text("live")
    # As if the page that holds it stood still: what it says is not heard, and half a minute is over.
    beside.evaluate(
        """const now = Date.now.bind(Date); Date.now = () => now() + 30000;
        navigator.locks.query().then((found) => { window.held = found.held.map((lock) => lock.clientId); })"""
    )
    beside.wait_for_function("window.held?.length === 1")
    beside.wait_for_function(
        "navigator.locks.query().then(({held}) => held.length === 1 && held[0].clientId !== window.held[0])"
    )
    streams.until(1)
    follows(beside, stack)


def test_without_web_locks_each_tab_has_a_stream_of_its_own(page: Page, beside: Page, stack: Stack, streams):
    page.context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', {value: undefined})")
    page.goto("/")
    beside.goto(f"/jobs/{waiting(stack)}")
    streams.until(2)
    follows(beside, stack)
    streams.until(1)
