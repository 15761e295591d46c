"""One system and one browser for all tests; every page is watched for errors, foreign requests and broken policy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("e2e_browser", "e2e_stack")

from e2e_browser import CHROMIUM, Watch, sign_in  # noqa: E402 -- needs the path above
from e2e_stack import PATIENCE_SECONDS, Stack, running_stack  # noqa: E402
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

NewPage = Callable[..., Page]
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a browser and a process of its own."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"{CHROMIUM} is missing: apt-get install -y chromium")
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def sessions() -> dict[str, Any]:
    """What the browser keeps of each who has signed in; doing it anew for every test would take seconds."""
    return {}


@pytest.fixture
def new_page(browser: Browser, stack: Stack, sessions: dict[str, Any]) -> Iterator[NewPage]:
    """Pages in contexts of their own, signed in as somebody; each is judged when the test ends."""
    watches: list[Watch] = []
    with ExitStack() as contexts:

        def make(who: str | None = "olga", *, base_url: str | None = None, **options: Any) -> Page:
            known = who if base_url is None and options.get("java_script_enabled", True) else None
            kept = sessions.get(known or "")
            context = browser.new_context(base_url=base_url or stack.monitor, storage_state=kept, **options)
            contexts.callback(context.close)
            context.set_default_timeout(PATIENCE_SECONDS * 1000)
            page = context.new_page()
            watches.append(Watch(page, base_url or stack.monitor))
            if who is not None and kept is None:
                sign_in(page, who)
            if known is not None and kept is None:
                sessions[known] = context.storage_state()
            return page

        yield make
        for watch in watches:
            watch.judge()


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """A page of somebody who may operate."""
    return new_page()
