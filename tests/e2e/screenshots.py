"""Takes the pictures of the docs: `python tests/e2e/screenshots.py FOLDER`. Needs Chromium."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from e2e_browser import CHROMIUM, sign_in
from e2e_scene import play
from e2e_stack import running_stack
from playwright.sync_api import sync_playwright

PAGES = {
    "overview": "/",
    "jobs": "/jobs",
    "job-running": "/jobs/{running}",
    "job-crashed": "/jobs/{crashed}",
    "pool": "/pools/test",
    "workers": "/workers",
    "dead-letters": "/dead-letters",
    "recovery": "/recovery",
}


def main(folder: Path, only: set[str]) -> None:
    """Light and dark, and the narrow overview."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, running_stack(Path(scratch)) as stack, sync_playwright() as driver:
        named = play(stack)
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        for theme in ("light", "dark"):
            context = browser.new_context(
                color_scheme=theme, viewport={"width": 1280, "height": 800}, base_url=stack.monitor
            )
            page = context.new_page()
            sign_in(page, "anna")
            page.wait_for_timeout(1500)
            for name, path in PAGES.items():
                if only and name not in only:
                    continue
                page.goto(path.format(**named))
                page.wait_for_timeout(400)
                page.screenshot(path=folder / f"monitor-{name}-{theme}.png", full_page=True)
            if theme == "light":
                page.set_viewport_size({"width": 390, "height": 844})
                for name in ("overview", "job-running"):
                    page.goto(PAGES[name].format(**named))
                    page.wait_for_timeout(400)
                    page.screenshot(path=folder / f"monitor-{name}-phone.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), set(sys.argv[2:]))
