"""Every action, on the real system."""

from __future__ import annotations

from e2e_stack import Stack
from playwright.sync_api import Page, expect


def test_a_running_job_is_cancelled_and_the_page_follows(page: Page, stack: Stack):
    job = stack.submit("test.steps", {"steps": 500, "seconds": 0.1})
    stack.until_state(job, "processing")
    page.goto(f"/jobs/{job}")
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.locator("[data-region=state]")).to_contain_text("cancelled", timeout=15_000)
    assert stack.job(job)["state"] == "cancelled"
    expect(page.locator("#live")).to_be_hidden()


def test_a_dead_letter_is_replayed_and_discarded_from_its_page(page: Page, stack: Stack):
    job = stack.submit("test.fail", {"until_attempt": 9, "how": "permanent", "message": "one page"})
    stack.until_state(job, "failed")
    page.goto(f"/jobs/{job}")
    page.get_by_role("link", name="Replay…").click()
    page.get_by_role("dialog").get_by_role("button", name="Run it again").click()
    expect(page.get_by_text("This is the new job that replays the old one.")).to_be_visible()
    assert job not in page.url
    page.goto(f"/jobs/{job}")
    page.get_by_role("link", name="Discard…").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard it").click()
    expect(page.get_by_text("it is no dead letter any more")).to_be_visible()
    assert stack.job(job)["discarded_at"]


def test_a_group_of_dead_letters_is_replayed_and_then_discarded(page: Page, stack: Stack):
    made = [
        stack.submit("test.fail", {"until_attempt": 9, "how": "permanent", "message": "a group of them"})
        for _ in range(3)
    ]  # their replays fail too, and are not replayed with them
    for job in made:
        stack.until_state(job, "failed")
    page.goto("/dead-letters")
    row = page.get_by_role("row", name="a group of them")
    row.get_by_role("link", name="Replay").click()
    dialog = page.get_by_role("dialog", name="Replay 3 dead letters?")
    dialog.get_by_role("button", name="Replay 3 jobs").click()
    expect(page.get_by_text("3 jobs replayed.")).to_be_visible()
    stack.until(lambda: sum("a group of them" in (j["error"] or {}).get("message", "") for j in dead(stack)) == 6)
    page.goto("/dead-letters")
    page.get_by_role("row", name="a group of them").get_by_role("link", name="a group of them").first.click()
    expect(page.locator("table[data-rows] tbody tr")).to_have_count(6)
    page.get_by_label(f"Select {made[0]}").check()
    page.get_by_role("button", name="Discard…").click()
    page.get_by_role("button", name="Discard 1 job").click()
    expect(page.get_by_text("1 job discarded.")).to_be_visible()
    page.get_by_role("row", name="a group of them").get_by_role("link", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard 5 jobs").click()
    expect(page.get_by_text("5 jobs discarded.")).to_be_visible()
    assert page.get_by_role("row", name="a group of them").count() == 0


def dead(stack: Stack) -> list[dict]:
    return stack.api("GET", "/v1/dead-letters?limit=200")["jobs"]


def test_ticked_jobs_are_cancelled_together(page: Page, stack: Stack):
    made = [stack.submit("test.sleep", {}, delay_seconds=3600, tags={"case": "ticked"}) for _ in range(3)]
    page.goto("/jobs?tag=case:ticked")
    page.get_by_label("Select all").check()
    page.get_by_label(f"Select {made[0]}").uncheck()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel 2 jobs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 jobs cancelled")
    assert [stack.job(job)["state"] for job in made] == ["queued", "cancelled", "cancelled"]


def test_a_pool_is_paused_with_a_reason_that_everybody_sees_and_resumed(page: Page, stack: Stack):
    page.goto("/pools")
    page.get_by_role("link", name="Pause crawl").click()
    dialog = page.get_by_role("dialog", name="Pause the pool crawl?")
    dialog.get_by_label("Why?").fill("the site is moving")
    dialog.get_by_role("button", name="Pause crawl").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("crawl")
    expect(page.locator("[data-region=state]")).to_contain_text("the site is moving")
    page.goto("/")
    expect(page.get_by_text("pool crawl: paused, because: the site is moving")).to_be_visible()
    page.goto("/pools/crawl")
    page.get_by_role("link", name="Resume…").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume crawl").click()
    expect(page.locator("[data-region=state]")).not_to_contain_text("paused")
    assert stack.api("GET", "/v1/pools/crawl")["paused"] is False


def test_a_form_from_elsewhere_changes_nothing(page: Page, stack: Stack):
    job = stack.submit("test.sleep", {}, delay_seconds=3600)
    page.goto("/jobs")
    page.watch.expect("403")
    send = """async ([path, field]) => (await fetch(path, {method: "POST", redirect: "manual",
        headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: field})).status"""
    assert page.evaluate(send, [f"/jobs/{job}/cancel", "form_token=" + "0" * 64]) == 403
    assert page.evaluate(send, [f"/jobs/{job}/cancel", ""]) == 403
    assert stack.job(job)["state"] == "queued"
