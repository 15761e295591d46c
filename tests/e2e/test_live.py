"""Pages that move: progress, states, new rows, a lost connection."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from e2e_browser import assert_accessible
from e2e_stack import Stack
from playwright.sync_api import Page, expect

from headrace.local.ports import free_port


def test_progress_moves_and_the_end_comes_without_a_reload(page: Page, stack: Stack):
    job = stack.submit("test.steps", {"steps": 25, "seconds": 0.2})
    page.goto(f"/jobs/{job}")
    page.evaluate("window.before = 1")
    now = page.locator("[data-region=now]")
    expect(now).to_contain_text("of 25 steps")
    first = re.search(r"(\d+) of 25", now.inner_text())
    assert first is not None
    expect(now).not_to_contain_text(f"{first[1]} of 25")
    expect(page.locator("[data-region=state]")).to_contain_text("completed")
    expect(page.locator("[data-region=timeline]")).to_contain_text("completed")
    expect(page.locator("#live")).to_be_hidden()
    assert page.evaluate("window.before") == 1


def test_the_overview_follows_the_system(page: Page, stack: Stack):
    page.goto("/")
    tile = page.locator("[data-region=tiles] a[href*=processing] .figure")
    before = int(tile.inner_text())
    job = stack.submit("test.steps", {"steps": 500, "seconds": 0.1})
    expect(tile).to_have_text(str(before + 1))
    expect(page.locator("[data-region=running]")).to_contain_text(job[-6:])
    stack.api("POST", f"/v1/jobs/{job}/cancel")
    expect(tile).to_have_text(str(before))


def test_rows_stay_where_they_are_and_new_ones_are_announced(page: Page, stack: Stack):
    old = stack.submit("test.sleep", {"seconds": 0}, delay_seconds=3600)
    page.goto("/jobs")
    first = page.locator("table[data-rows] tbody tr").first
    expect(first).to_have_id(f"row-{old}")
    page.get_by_label(f"Select {old}").check()
    new = stack.submit("test.sleep", {"seconds": 0}, delay_seconds=3600)
    expect(page.locator("#new-rows")).to_contain_text("1 new")
    expect(first).to_have_id(f"row-{old}")
    stack.api("POST", f"/v1/jobs/{old}/cancel")
    expect(first).to_contain_text("cancelled")
    expect(page.get_by_label(f"Select {old}")).to_be_checked()
    page.get_by_role("link", name="Show them").click()
    expect(first).to_have_id(f"row-{new}")


def test_what_is_paused_stays_and_goes_on_when_asked(page: Page, stack: Stack):
    job = stack.submit("test.sleep", {"seconds": 0}, delay_seconds=3600)
    page.goto(f"/jobs/{job}")
    expect(page.locator("#live")).to_contain_text("live")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_contain_text("paused since")
    stack.api("POST", f"/v1/jobs/{job}/cancel")
    page.wait_for_timeout(1500)
    expect(page.locator("[data-region=state]")).to_contain_text("delayed")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("[data-region=state]")).to_contain_text("cancelled")


def test_a_tab_that_nobody_sees_holds_no_connection(page: Page, stack: Stack):
    page.goto("/")
    expect(page.locator("#live")).to_contain_text("live")
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if "/live" in request.url else None)
    hide = """hidden => { Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange")); }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(2500)
    before = page.locator("#live").inner_text()
    page.wait_for_timeout(2500)
    assert page.locator("#live").inner_text() == before
    page.evaluate(hide, False)
    expect(page.locator("#live")).not_to_have_text(before)
    assert opened


@pytest.fixture
def another(stack: Stack) -> Iterator[Callable[..., tuple[str, subprocess.Popen[bytes]]]]:
    """Starts further monitors on the same stores."""
    with ExitStack() as started:

        def start(port: int, **settings: str) -> tuple[str, subprocess.Popen[bytes]]:
            environment = stack.system._environment() | {"JOB_HTTP_PORT": str(port)} | settings
            process = subprocess.Popen(
                [sys.executable, "-m", "headrace.monitor"], env=os.environ | environment, stderr=subprocess.DEVNULL
            )
            started.callback(process.wait)
            started.callback(process.kill)
            url = f"http://127.0.0.1:{port}" + settings.get("JOB_HTTP_BASE_PATH", "")
            stack.until(lambda: _answers(url + "/healthz"), what="the monitor's start")
            return url, process

        yield start


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


def test_a_lost_connection_is_said_and_mended(new_page, stack: Stack, another):
    port = free_port()
    url, process = another(port)
    page = new_page(base_url=url)
    page.watch.expect("ERR_", "Failed to load")
    page.goto("/workers")
    expect(page.locator("#live")).to_contain_text("live")
    process.kill()
    process.wait()
    expect(page.locator("#live")).to_contain_text("connection lost")
    assert_accessible(page)
    another(port)
    expect(page.locator("#live")).to_contain_text("live")


def test_a_read_only_monitor_under_a_path_offers_nothing_and_does_nothing(new_page, stack: Stack, another):
    job = stack.submit("test.sleep", {"seconds": 0}, delay_seconds=3600)
    url, _ = another(free_port(), JOB_READ_ONLY="1", JOB_HTTP_BASE_PATH="/watch")
    page = new_page(None, base_url=url + "/")
    page.goto("login")
    page.get_by_label("API token").fill("admin-token-of-anna")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_text("read-only")).to_be_visible()
    expect(page.locator("#live")).to_contain_text("live")
    page.get_by_role("link", name="Jobs", exact=True).click()
    assert page.get_by_role("checkbox").count() == 0
    page.locator(f"#row-{job}").get_by_role("link").first.click()
    assert page.get_by_role("link", name="Cancel…").count() == 0
    page.watch.expect("403")
    token = page.locator("input[name=form_token]").first.get_attribute("value")
    status = page.evaluate(
        """async ([path, token]) => (await fetch(path, {method: "POST", redirect: "manual",
            body: new URLSearchParams({form_token: token})})).status""",
        [f"/watch/jobs/{job}/cancel", token],
    )
    assert status == 403
    assert stack.job(job)["state"] == "queued"
