"""Every action, on the real system."""

from __future__ import annotations

from e2e_browser import assert_accessible
from e2e_stack import Stack
from playwright.sync_api import Page, expect

from headrace.runtime.store.breakers import DependencyBreakers


def test_a_running_job_is_cancelled_and_the_page_follows(page: Page, stack: Stack):
    job = stack.submit("test.steps", {"steps": 500, "seconds": 0.1})
    stack.until_state(job, "processing")
    page.goto(f"/jobs/{job}")
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.locator("[data-region=state]")).to_contain_text("cancelled")
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


def test_the_sizes_of_a_pool_are_set_and_the_workers_follow(page: Page, stack: Stack):
    page.goto("/pools/crawl")
    page.get_by_role("link", name="Sizes…").click()
    dialog = page.get_by_role("dialog", name="Sizes of the pool crawl")
    expect(dialog.get_by_label("Slots at least")).to_be_focused()
    assert_accessible(page)
    dialog.get_by_label("Slots at least").fill("3")
    dialog.get_by_label("Slots at most").fill("4")
    dialog.get_by_label("Jobs at most").fill("77")
    dialog.get_by_role("button", name="Set the sizes").click()
    expect(page.get_by_text("The sizes are set; running workers follow within seconds.")).to_be_visible()
    expect(page.get_by_text("of each worker service from 3 to 4")).to_be_visible()
    expect(page.locator("[data-region=tiles]")).to_contain_text("of its limit of 77")
    stack.until(lambda: stack.api("GET", "/v1/pools/crawl")["slots"]["total"] == 3, what="three slots")
    page.goto("/pools/crawl/sizes")
    page.get_by_label("Slots at least").fill("9")
    page.watch.expect("422")
    page.get_by_role("button", name="Set the sizes").click()
    expect(page.get_by_text("min_slots may not be more than max_slots")).to_be_visible()
    page.goto("/pools/crawl/sizes")
    for label in ("Slots at least", "Slots at most", "Jobs at most"):
        page.get_by_label(label).fill("")
    page.get_by_role("button", name="Set the sizes").click()
    expect(page.get_by_text("as the workers are set up")).to_be_visible()
    assert stack.api("GET", "/v1/pools/crawl")["size_limit"] == 1000


def test_a_dependency_that_fails_is_tried_again(page: Page, stack: Stack):
    stack.run(DependencyBreakers(stack.database).fail("smtp", job_type="test.sleep", error="connection refused"))
    page.goto("/recovery")
    page.get_by_role("link", name="Try smtp again…").click()
    dialog = page.get_by_role("dialog", name="Try smtp again?")
    expect(dialog).to_contain_text("connection refused")
    dialog.get_by_role("button", name="Try it again").click()
    expect(page.get_by_text("Its breaker is closed")).to_be_visible()
    expect(page.locator("[data-region=breakers]")).not_to_contain_text("smtp")
    assert stack.api("GET", "/v1/breakers")["breakers"] == []


def test_what_was_done_here_stands_in_the_audit(page: Page, stack: Stack, new_page):
    job = stack.submit("test.sleep", {}, delay_seconds=3600)
    page.goto(f"/jobs/{job}/cancel")
    page.get_by_role("button", name="Cancel the job").click()
    page.goto("/pools/test/sizes")
    page.get_by_label("Jobs at most").fill("999")
    page.get_by_role("button", name="Set the sizes").click()
    expect(page.get_by_text("The sizes are set")).to_be_visible()
    boss = new_page("anna")
    boss.goto("/audit")
    rows = boss.locator("tbody tr")
    expect(rows.filter(has_text="olga").filter(has_text="patch").filter(has_text='{"size_limit": 999}')).to_have_count(
        1
    )
    expect(rows.filter(has_text="olga").filter(has_text="cancel").filter(has_text=job)).to_have_count(1)
    stack.api("PATCH", "/v1/pools/test", {"size_limit": None})


def test_a_form_from_elsewhere_changes_nothing(page: Page, stack: Stack):
    job = stack.submit("test.sleep", {}, delay_seconds=3600)
    page.goto("/jobs")
    page.watch.expect("403")
    send = """async ([path, field]) => (await fetch(path, {method: "POST", redirect: "manual",
        headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: field})).status"""
    assert page.evaluate(send, [f"/jobs/{job}/cancel", "form_token=" + "0" * 64]) == 403
    assert page.evaluate(send, [f"/jobs/{job}/cancel", ""]) == 403
    assert stack.job(job)["state"] == "queued"
