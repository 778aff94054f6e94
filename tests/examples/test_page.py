"""The page at `/`, driven in a real browser."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.examples.desks import LISTS, ONE_EACH, Desk, new_name
from tests.examples.screenshot import VIEWPORT, edit_first_label, logged, sign_in

pytestmark = pytest.mark.parametrize("desk", ONE_EACH, ids=str, indirect=True)

UNTOUCHED = ("304", "not reached", "not reached")
FETCHED = ("200", "reached", "reached")


async def open_page(browser: Browser, desk: Desk) -> tuple[Page, list[str]]:
    """Open the page; return it with a list that fills with what goes wrong in it."""
    page = await browser.new_page(viewport=VIEWPORT)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type in {"error", "warning"} else None)
    await page.goto(desk.base_url)
    return page, troubles


async def tokens_shown(page: Page) -> dict[str, str]:
    """Return the version tokens that the page shows, by model."""
    return {model: await page.get_by_test_id(f"token-{model}").inner_text() for model in LISTS}


async def test_person_sees_304s(browser: Browser, desk: Desk, tmp_path: Path) -> None:
    """After an edit one token changes and one list is refetched, while all else is 304 without handler or database."""
    page, troubles = await open_page(browser, desk)
    await sign_in(page, "demo-agent-1")
    first = await logged(page, 4)
    assert {path: first[path] for path in LISTS.values()} == dict.fromkeys(LISTS.values(), FETCHED)
    with desk.client("demo-agent-1") as agent:
        labels = agent.get(LISTS["label"]).json()["payload"]
    await expect(page.get_by_test_id("rows-label").get_by_role("listitem")).to_have_count(len(labels))

    await page.get_by_role("button", name="Check", exact=True).click()
    assert list((await logged(page, 5)).values()) == [UNTOUCHED]
    await page.get_by_role("button", name="Reload all").click()
    assert set((await logged(page, 9)).values()) == {UNTOUCHED}

    before = await tokens_shown(page)
    title = new_name()
    await edit_first_label(page, title)
    requests = await logged(page, 14)
    after = await tokens_shown(page)
    assert {model for model in LISTS if before[model] != after[model]} == {"label"}
    lists = {model: requests[path] for model, path in LISTS.items()}
    assert lists == {"label": FETCHED, "inbox": UNTOUCHED, "team": UNTOUCHED}
    await expect(page.locator(".model.changed h2")).to_have_text("Labels")
    await expect(page.get_by_test_id("rows-label").get_by_label("Title").first).to_have_value(title)
    await page.screenshot(path=tmp_path / "page.png")
    assert not troubles


async def test_own_write_is_asked_for(browser: Browser, desk: Desk) -> None:
    """After an edit the page's requests show the tokens that the edit minted, so that no worker answers from older."""
    page, troubles = await open_page(browser, desk)
    await sign_in(page, "demo-agent-1")
    await logged(page, 4)
    shown: list[str] = []
    page.on("request", lambda request: shown.append(request.headers.get("cache-keys", "")))
    async with page.expect_response(lambda response: response.request.method == "PATCH") as edit:
        await edit_first_label(page, new_name())
    await logged(page, 9)
    minted = (await (await edit.value).all_headers())["cache-keys"]
    assert minted.startswith('label="')
    assert len(shown) == 5
    assert all(minted in keys for keys in shown[1:])
    assert not troubles


async def no_push(route: Route) -> None:
    """Answer as an app that doesn't push."""
    await route.fulfill(status=404, json={})


async def test_check_finds_another_users_edit(browser: Browser, desk: Desk) -> None:
    """Without a stream a check after somebody else's edit fetches the list that changed, and no other."""
    page, _ = await open_page(browser, desk)
    await page.route("**/ticket", no_push)
    await sign_in(page, "demo-admin")
    await logged(page, 4)
    await expect(page.get_by_test_id("live")).to_have_text("Not live: check by hand")
    name = new_name()
    with desk.client("demo-agent-1") as agent:
        team = agent.post(LISTS["team"], json={"name": name}).json()
    await page.get_by_role("button", name="Check", exact=True).click()
    requests = await logged(page, 6)
    assert requests[LISTS["team"]] == FETCHED
    await expect(page.get_by_test_id("rows-team").get_by_label("Name").last).to_have_value(name)
    with desk.client("demo-agent-1") as agent:
        agent.delete(f"{LISTS['team']}/{team['id']}")


async def test_records_and_members_by_hand(browser: Browser, desk: Desk) -> None:
    """Records are added and deleted, and members toggled, with the page's buttons."""
    page, troubles = await open_page(browser, desk)
    await sign_in(page, "demo-agent-1")
    await logged(page, 4)
    rows = page.get_by_test_id("rows-inbox").get_by_role("listitem")
    count = await rows.count()
    await page.get_by_label("Name of the new inbox").fill(name := new_name())
    await page.get_by_label("Name of the new inbox").press("Enter")
    await expect(rows).to_have_count(count + 1)
    member = rows.last.get_by_role("button", name="Ada")
    await expect(member).to_have_attribute("aria-pressed", "false")
    await member.click()
    await expect(member).to_have_attribute("aria-pressed", "true")
    await member.click()
    await expect(member).to_have_attribute("aria-pressed", "false")
    await page.get_by_role("button", name=f"Delete {name}").click()
    await expect(rows).to_have_count(count)
    assert not troubles


async def test_refusals_are_shown(browser: Browser, desk: Desk) -> None:
    """What the desk refuses is said on the page, and nothing of the last user is left when the next signs in."""
    page, _ = await open_page(browser, desk)
    await sign_in(page, "demo-agent-1")
    await logged(page, 4)
    await edit_first_label(page, "billing")
    await expect(page.get_by_role("alert")).to_contain_text("422: That name has already been taken.")
    await page.get_by_label("Account").select_option("2")
    await expect(page.get_by_role("alert")).to_contain_text("403")
    await expect(page.get_by_test_id("rows-label").get_by_role("listitem")).to_have_count(0)
    await page.get_by_role("button", name="Sign out").click()
    await sign_in(page, "demo-agent-2")
    await expect(page.get_by_test_id("rows-inbox").get_by_role("listitem")).to_have_count(1)


async def test_automatic_check(browser: Browser, desk: Desk) -> None:
    """Checking by itself is off at first; when on, the keys are asked for without a click."""
    page, troubles = await open_page(browser, desk)
    await page.clock.install()
    await sign_in(page, "demo-agent-1")
    await logged(page, 4)
    assert not await page.get_by_label("Check every 5 s").is_checked()
    await page.get_by_label("Check every 5 s").check()
    await page.clock.run_for(5_000)
    assert list((await logged(page, 5)).values()) == [UNTOUCHED]
    assert not troubles
