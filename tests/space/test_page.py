"""A real browser uses the Space: a real small model in both languages, and every control with an echo."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from hala_release.hub import Hub
from tests.browser.conftest import Screenshot
from tests.space.conftest import App, Published, Serve

DESK, PHONE = (1280, 900), (390, 844)
ARABIC = re.compile("[\u0600-\u06ff]")
Open = Callable[..., Page]
PATIENT = 60_000
"""Milliseconds that a real model on a busy machine may need."""
ECHOED = (
    "مرحبا hello, هذا سطر طويل\n\n- واحد `code`\n- two\n\n<b onclick=alert(1)>HTML</b> ![x](https://example.org/x.png)"
)


@pytest.fixture(scope="module")
def address(published: Published) -> str:
    """Where the published Space answers."""
    url = Hub(published.hub.url, published.hub.token).runtime("acme/chat").url
    assert url
    return url


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open the page in a window with a language, a width and a colour scheme."""
    windows = []

    def open_page(url: str, language: str = "ar", size: tuple[int, int] = DESK, dark: bool = False) -> Page:
        window = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale=language,
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        windows.append(window)
        page = window.new_page()
        page.goto(url)
        expect(page.locator("#message textarea")).to_be_visible(timeout=PATIENT)
        expect(page.locator("html")).to_have_attribute("lang", re.compile(f"^{language}"))
        return page

    yield open_page
    for window in windows:
        window.close()


def box(page: Page) -> Locator:
    """Return where a message is written."""
    return page.locator("#message textarea")


def answer(page: Page) -> Locator:
    """Return the last message of the model."""
    return page.locator("#conversation .bot.message").last


def send(page: Page, text: str) -> None:
    """Write a message and send it by the keyboard."""
    box(page).fill(text)
    box(page).press("Enter")


def upload(page: Page, path: Path) -> None:
    """Choose a file."""
    with page.expect_file_chooser() as chosen:
        page.locator("#open").click()
    chosen.value.set_files(path)


def tab(page: Page, name: str) -> None:
    """Open a tab."""
    page.locator(f"[data-tab-id={name}]").click()


def test_a_real_model_answers_arabic_from_right_to_left_as_it_is_written(
    address: str, opened: Open, screenshot: Screenshot
) -> None:
    page = opened(address)
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    page.locator("#settings button").first.click()
    page.locator("#temperature input[type=number]").fill("0")  # the same answer each time, and a long one
    page.locator("#temperature input[type=number]").press("Tab")
    send(page, "اكتب قصيدة قصيرة عن البحر")
    paragraph = answer(page).locator("p").first
    expect(paragraph).to_have_text(ARABIC, timeout=PATIENT)
    early = answer(page).inner_text()
    expect(answer(page)).not_to_have_text(early, timeout=PATIENT)  # it grows while one looks at it
    style = paragraph.evaluate("p => [getComputedStyle(p).direction, getComputedStyle(p).textAlign, p.lang]")
    assert style == ["rtl", "start", "ar"]
    screenshot(page, "while it streams")
    page.locator(".stop-button").click()
    expect(page.locator("#status")).to_contain_text("تم الإيقاف")
    expect(page.locator(".submit-button")).to_be_visible()


def test_a_real_model_translates_and_the_language_is_switched_in_between(
    address: str, opened: Open, screenshot: Screenshot
) -> None:
    page = opened(address, "en")
    send(page, "What is the capital of France? Answer in one word.")
    expect(answer(page)).to_contain_text("Paris", timeout=PATIENT)
    page.get_by_role("button", name="العربية").click()
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    assert page.locator("[role=tab]").all_inner_texts() == ["محادثة", "ترجمة", "حول النماذج"]
    expect(answer(page)).to_contain_text("Paris")  # the conversation is still there
    tab(page, "translate")
    page.locator("#source textarea").fill("Good morning. How are you?")
    page.locator("#translate").click()
    expect(page.locator("#target textarea")).to_have_value(re.compile(r"\S"), timeout=PATIENT)
    expect(page.locator("#translate-status")).to_contain_text("تُرجم إلى العربية", timeout=PATIENT)
    screenshot(page, "translated")
    page.reload()
    expect(page.locator("html")).to_have_attribute("dir", "rtl")  # the choice is remembered


@pytest.mark.parametrize("language", ["ar", "en"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_tab_fits_is_accessible_and_is_kept_as_a_picture(
    echo: App, opened: Open, screenshot: Screenshot, language: str, dark: bool, size: tuple[int, int]
) -> None:
    page = opened(echo.url, language, size, dark)
    expect(page.locator("html")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    send(page, ECHOED)
    expect(answer(page)).to_contain_text("two")
    expect(page.locator(".submit-button")).to_be_visible()
    for name in ("chat", "translate", "compare", "about"):
        tab(page, name)
        page.wait_for_timeout(300)
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], f"{name} is wider than the window"
        found = Axe().run(page).response["violations"]
        serious = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] == "critical"]
        assert not serious, name
        screenshot(page, name)


def test_messages_have_their_own_direction_and_no_html_of_a_model_acts(echo: App, opened: Open) -> None:
    page = opened(echo.url, "en")
    asked: list[str] = []

    def elsewhere(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    page.context.route("**://example.org/**", elsewhere)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    send(page, ECHOED)
    expect(answer(page)).to_contain_text("HTML")
    assert answer(page).locator("p").first.evaluate("p => getComputedStyle(p).direction") == "rtl"
    assert answer(page).locator("code").first.evaluate("c => getComputedStyle(c).direction") == "ltr"
    assert not answer(page).locator("[onclick]").count()
    assert not asked
    send(page, "English only")
    expect(answer(page)).to_contain_text("English only")
    assert answer(page).locator("p").first.evaluate("p => getComputedStyle(p).direction") == "ltr"


def test_retry_edit_undo_and_a_new_conversation(echo: App, opened: Open) -> None:
    page = opened(echo.url, "en")
    send(page, "first question")
    expect(answer(page)).to_have_text(re.compile("first question"))
    expect(page.locator(".submit-button")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(answer(page)).to_have_text(re.compile("first question"))
    expect(page.locator(".submit-button")).to_be_visible()
    page.get_by_role("button", name="Edit").first.click()
    page.locator("#conversation textarea").fill("second question")
    page.get_by_role("button", name="Submit").click()
    expect(answer(page)).to_have_text(re.compile("second question"))
    expect(page.locator("#conversation .message-row")).to_have_count(2)
    expect(page.locator(".submit-button")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#conversation .message-row")).to_have_count(0)
    expect(box(page)).to_have_value("second question")
    send(page, "third")
    expect(answer(page)).to_contain_text("third")
    page.locator("#new").click()
    expect(page.locator("#conversation .message-row")).to_have_count(0)


def test_the_keyboard_alone_is_enough(echo: App, opened: Open) -> None:
    page = opened(echo.url, "en")
    reached: dict[str, str] = {}
    for _ in range(40):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            "return [e.closest('[id]')?.id + ' ' + (e.dataset.language || e.dataset.tabId || e.tagName),"
            "s.outlineStyle + ' ' + s.outlineWidth] })()"
        )
        reached[here[0]] = here[1]
    for wanted in ("ar", "en", "chat", "TEXTAREA"):
        ring = next((outline for name, outline in reached.items() if name.endswith(f" {wanted}")), "")
        assert ring, f"{wanted} is not reached: {list(reached)}"
        assert not ring.startswith("none"), f"{wanted} shows no focus"


def test_a_file_is_translated_and_the_result_saved(echo: App, opened: Open, tmp_path: Path) -> None:
    page = opened(echo.url, "ar")
    tab(page, "translate")
    text = "السطر الأول.\n\n`code` والسطر الثاني.\n"
    (tmp_path / "نص.txt").write_text(text, encoding="utf-8")
    upload(page, tmp_path / "نص.txt")
    expect(page.locator("#target textarea")).to_have_value(text)
    expect(page.locator("#translate-status")).to_contain_text("تُرجم إلى الإنجليزية")
    with page.expect_download() as saved:
        page.locator("#save").click()
    assert saved.value.path().read_text(encoding="utf-8") == text
    page.locator("#swap").click()
    expect(page.locator("#source textarea")).to_have_value(text)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00broken")
    upload(page, tmp_path / "bad.txt")
    expect(page.locator("#translate-status")).to_contain_text("UTF-8")


def test_base_and_tuned_answer_side_by_side(echo: App, opened: Open) -> None:
    page = opened(echo.url, "en")
    tab(page, "compare")
    page.locator("#compare-question textarea").fill("the same question")
    page.locator("#compare-ask").click()
    for name in ("base", "tuned"):
        expect(page.locator(f"#compare-{name} textarea")).to_have_value("the same question")


def test_about_shows_facts_and_charts(echo: App, opened: Open) -> None:
    page = opened(echo.url, "ar")
    tab(page, "about")
    about = page.locator(".only-ar")
    expect(about).to_contain_text("الإصدار 1.0.0")
    expect(about).to_contain_text("Hala small")
    chart = about.locator("img.on-light")
    expect(chart).to_be_visible()
    expect(about.locator("img.on-dark")).to_be_hidden()
    score = about.get_by_role("cell", name="±")
    assert score.evaluate("cell => getComputedStyle(cell).direction") == "ltr"  # else value and error change places
    expect(chart).to_have_attribute("alt", re.compile("درجات"))
    page.wait_for_function("document.querySelector('.only-ar img.on-light').naturalWidth > 0")
    expect(page.locator(".only-en")).to_be_hidden()
    assert page.evaluate("document.fonts.check('16px \"IBM Plex Sans Arabic Hala\"', 'ع')")


def test_a_lost_connection_is_said_and_the_work_is_stopped(serve: Serve, opened: Open, screenshot: Screenshot) -> None:
    with serve(HALA_ECHO_DELAY="0.3") as app:
        page = opened(app.url, "ar")
        send(page, "كلمة " * 300)
        expect(answer(page)).to_contain_text("كلمة")
        page.context.set_offline(True)
        expect(page.locator(".lost")).to_be_visible()
        expect(page.locator(".lost")).to_contain_text("انقطع الاتصال")
        expect(page.locator(".lost")).to_contain_text("The connection is lost")
        screenshot(page, "offline")
        page.context.set_offline(False)
        expect(page.locator(".lost")).to_be_hidden()
        page.close()
        for _ in range(100):
            if "closed" in app.said():
                break
            time.sleep(0.1)
        found = re.search(r"acme/small: (\d+) pieces in [\d.]+ s, closed", app.said())
        assert found, app.said()
        assert int(found[1]) < 100
