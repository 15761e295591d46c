"""Every page: there, accessible, within the policy; in light and dark, wide and narrow, with and without script."""

from __future__ import annotations

import pytest
from e2e_browser import assert_accessible, assert_fits
from e2e_stack import Stack
from playwright.sync_api import Page, expect

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

HEADINGS = {
    "/": "Overview",
    "/jobs": "Jobs",
    "/pools": "Pools",
    "/pools/test": "test",
    "/workers": "Workers",
    "/dead-letters": "Dead letters",
    "/dead-letters?list=all": "Dead letters",
    "/recovery": "Recovery",
    "/about": "About",
    "/jobs/{failed}": "test.fail",
    "/jobs/{done}": "test.steps",
    "/jobs/{delayed}": "test.sleep",
    "/jobs/{failed}/replay": "Run this job again?",
    "/pools/test/pause": "Pause the pool test?",
    "/pools/test/sizes": "Sizes of the pool test",
    "/nowhere": "Not found",
}


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> dict[str, str]:
    """A job of each kind, some of them hostile."""
    made = {
        "failed": stack.submit("test.fail", {"until_attempt": 9, "how": "permanent", "message": f"no {EVIL}"}),
        "done": stack.submit("test.steps", {"steps": 2}, tags={"team": "<b>bold</b>"}),
        "delayed": stack.submit("test.sleep", {"result": {EVIL: EVIL, "password": "hunter2"}}, delay_seconds=3600,
                                unique_key=EVIL, tags={"evil": EVIL}),
    }  # fmt: skip
    stack.until_state(made["failed"], "failed")
    stack.until_state(made["done"], "completed")
    return made


def test_every_page_is_accessible_and_fits(new_page, jobs):
    page = new_page(color_scheme="light", viewport={"width": 1280, "height": 900})
    page.watch.expect("404")
    for path, heading in HEADINGS.items():
        page.goto(path.format(**jobs))
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        assert_accessible(page)
        assert_fits(page)


def test_the_pages_are_accessible_in_the_dark(new_page, jobs):
    page = new_page(color_scheme="dark", viewport={"width": 1280, "height": 900})
    for path in ("/", "/jobs", "/pools/test", "/workers", "/dead-letters", "/recovery", "/jobs/{failed}", "/about"):
        page.goto(path.format(**jobs))
        assert_accessible(page)


def test_every_page_fits_a_phone(new_page, jobs):
    page = new_page(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page.watch.expect("404")
    for path in HEADINGS:
        page.goto(path.format(**jobs))
        assert_fits(page)
    page.goto("/jobs")
    assert_accessible(page)


def test_what_jobs_bring_along_is_text(page: Page, jobs):
    for path in (
        "/",
        "/jobs",
        "/dead-letters",
        "/jobs/{failed}",
        "/jobs/{delayed}",
        "/jobs/{done}",
        "/jobs?tag=evil:x",
    ):
        page.goto(path.format(**jobs))
        page.wait_for_timeout(100)
        assert "owned" not in page.title()
    page.goto(f"/jobs/{jobs['delayed']}")
    payload = page.get_by_label("Payload", exact=True).locator("visible=true").last
    expect(payload).to_contain_text("<script>")
    expect(payload).to_contain_text('"password": "***"')
    expect(payload).not_to_contain_text("hunter2")
    expect(page.get_by_text("1 value hidden")).to_be_visible()
    page.goto(f"/jobs/{jobs['failed']}")
    expect(page.locator("pre.message")).to_contain_text("<img src=x")


def test_the_pages_to_sign_in_and_of_errors_are_accessible_too(new_page, stack):
    page = new_page(None)
    page.goto("/jobs?state=failed")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert_accessible(page)
    page.watch.expect("401")
    page.get_by_label("API token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This token is not known.")
    page.get_by_label("API token").fill("read-token-of-rita")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?state=failed")
    page.get_by_text("rita").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_reader_is_offered_nothing_and_an_administrator_the_audit(new_page, jobs, stack):
    page = new_page("rita")
    for path in ("/jobs", "/pools", "/pools/test", "/dead-letters", f"/jobs/{jobs['failed']}"):
        page.goto(path)
        assert page.locator("a[data-dialog]").count() == 0
        assert page.get_by_role("checkbox").count() == 0
    page.watch.expect("403")
    page.goto("/audit")
    expect(page.get_by_role("heading", level=1)).to_have_text("The token lacks the scope for this")
    boss = new_page("anna")
    stack.api("POST", "/v1/pools/test/pause", {"reason": EVIL})
    stack.api("POST", "/v1/pools/test/resume")
    boss.goto("/audit")
    expect(boss.get_by_role("row", name="anna")).not_to_have_count(0)
    assert_accessible(boss)


def test_a_tenant_sees_its_own_jobs_alone(new_page, stack, jobs):
    mine = stack.submit("test.sleep", {}, token="acme")
    page = new_page("acme")
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    expect(page.locator("table[data-rows] tbody tr")).to_have_count(1)
    expect(page.locator(f"#row-{mine}")).to_be_visible()
    assert page.get_by_role("link", name="Workers").count() == 0


def test_lists_and_actions_work_without_script(new_page, stack):
    job = stack.submit("test.sleep", {"seconds": 0}, delay_seconds=3600, tags={"case": "noscript"})
    page = new_page(java_script_enabled=False)
    page.goto("/jobs")
    page.get_by_label("State").select_option("queued")
    page.get_by_text("More").click()
    page.get_by_label("Tag").fill("case:noscript")
    page.get_by_role("button", name="Filter").click()
    page.locator(f"#row-{job}").get_by_role("link").first.click()
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("The job is cancelled.")).to_be_visible()
    assert stack.job(job)["state"] == "cancelled"
    page.goto("/pools/crawl")
    page.get_by_role("link", name="Sizes…").click()
    page.get_by_label("Jobs at most").fill("500")
    page.get_by_role("button", name="Set the sizes").click()
    expect(page.get_by_text("of its limit of 500")).to_be_visible()
    stack.api("PATCH", "/v1/pools/crawl", {"size_limit": None})


def test_theme_and_clock_are_kept(page: Page):
    page.goto("/")
    page.locator(".menu > summary").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert_accessible(page)
    page.get_by_role("button", name="switch to local time").click()
    page.goto("/workers")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#clock")).to_have_text("Local")


def test_the_keyboard_reaches_everything(page: Page, stack: Stack):
    job = stack.submit("test.sleep", {}, delay_seconds=3600)
    page.goto(f"/jobs/{job}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    link = page.get_by_role("link", name="Cancel…")
    for _ in range(8):
        page.keyboard.press("Tab")
        if link.evaluate("element => element === document.activeElement"):
            break
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    expect(dialog).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()
