"""The site in a real browser, from the disk: nothing sticks out, and the search finds."""

import pytest
from chromium import open_browser

WIDTHS = (1280, 400)

STICKS_OUT = """() => {
    const width = document.documentElement.clientWidth
    const clips = element => getComputedStyle(element).overflowX !== 'visible'
    const isClipped = element => {
        for (let e = element.parentElement; e; e = e.parentElement) if (clips(e)) return true
        return false
    }
    return [...document.querySelectorAll('.md-main *')]
        .filter(element => element.getBoundingClientRect().right > width + 1)
        .filter(element => element.getBoundingClientRect().width > 0 && !isClipped(element))
        .map(element => element.outerHTML.slice(0, 200))
}"""


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A page; what goes wrong in it is in its `wrong`."""
    page = browser.new_page()
    page.wrong = []
    # What is still on its way when the next page is asked for is aborted.
    page.on(
        "requestfailed",
        lambda request: (
            None if request.failure == "net::ERR_ABORTED" else page.wrong.append(request.url)
        ),
    )
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("file:", "data:", "blob:"))
            else page.wrong.append(request.url)
        ),
    )
    yield page
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_and_nothing_is_missed(site, page, width):
    page.set_viewport_size({"width": width, "height": 900})
    # The page for what is not found is a web server's, and loads by absolute paths.
    files = sorted(file for file in site.rglob("*.html") if file.name != "404.html")
    assert len(files) > 20
    for file in files:
        page.goto(file.as_uri())
        assert page.evaluate(STICKS_OUT) == [], file
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file
    assert page.wrong == []


def test_the_search_works_from_the_disk(site, page):
    page.goto((site / "index.html").as_uri())
    page.locator(".md-search__input").click()
    page.keyboard.type("outlived")
    found = page.locator(".md-search-result__link").first
    found.wait_for()
    found.click()
    page.wait_for_url("**/*.html?*")
    assert "outlived" in page.locator(".md-content").inner_text()
    assert page.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(site, browser, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto((site / "index.html").as_uri())
    wanted = {"light": "default", "dark": "slate"}[scheme]
    page.locator(f"body[data-md-color-scheme={wanted}]").wait_for()
    page.close()
