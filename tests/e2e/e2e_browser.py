"""Debian's Chromium, and what every test does with it."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from e2e_stack import TOKENS
from playwright.sync_api import ConsoleMessage, Dialog, Page, Request, Response

CHROMIUM = "/usr/bin/chromium"


class Watch:
    """Collects what must not happen on a page.

    Attributes:
        expected: Parts of console messages that a test provokes.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self._origin = origin
        self._problems: list[str] = []
        self.expected: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._problems.append(f"script: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.on("response", self._response)
        page.watch = self  # type: ignore[attr-defined]

    def expect(self, *parts: str) -> None:
        """Let console messages with these parts pass."""
        self.expected += parts

    def judge(self) -> None:
        """Nothing of it has happened."""
        assert self._problems == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(part in message.text for part in self.expected):
            self._problems.append(f"console: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self._problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "data:")):
            self._problems.append(f"foreign request: {request.url}")

    def _response(self, response: Response) -> None:
        if response.request.resource_type == "document" and response.status == 200:
            policy = response.headers.get("content-security-policy", "")
            if "default-src 'none'" not in policy or "unsafe" in policy:
                self._problems.append(f"policy of {response.url}: {policy}")


def sign_in(page: Page, who: str) -> None:
    """Sign in with somebody's token."""
    page.goto("/login")
    page.get_by_label("API token").fill(TOKENS[who][0])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)


def assert_accessible(page: Page) -> None:
    """No violation that axe finds."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def assert_fits(page: Page) -> None:
    """Nothing sticks out to the side."""
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= seen, f"{page.url} is {wide} pixels wide on {seen}"
