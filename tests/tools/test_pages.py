"""The pages in a browser, offline: on a page with everything in it, or on the book itself.

RECSYS_EVO_PAGES names a built site to look at instead of the small one made here.
"""

import os
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from pages import outside

from recsys_evo.plots import Flipbook

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
FIGURE = """\
import matplotlib.pyplot as plt

fig, ax = plt.subplots()
ax.plot([0, 1], [0, 1])
fig.patch.set_alpha(0)"""
TABLE = """\
import pandas as pd

pd.DataFrame({f"a rather long column name {n}": [n] for n in range(12)})"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, make_small_book) -> Path:
    """A folder of built pages."""
    if given := os.environ.get("RECSYS_EVO_PAGES"):
        return Path(given).resolve()
    book = make_small_book(tmp_path_factory.mktemp("pages") / "checkout")
    text = Path(__file__).with_name("kitchen_sink.md").read_text("utf-8")
    book.chapter("01-one", FIGURE, TABLE, text=text)
    path = book.root / "book" / "01-one.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[1].metadata["mystnb"] = {
        "figure": {"name": "fig-line", "caption": "A line that rises."},
        "image": {"alt": "A line from the lower left to the upper right."},
    }
    nbformat.write(notebook, path)
    book.build()
    return book.root / "_build" / "html"


def pages(site: Path) -> list[Path]:
    return sorted(p for p in site.glob("*.html") if p.name not in ("genindex.html", "search.html"))


def test_nothing_comes_from_elsewhere(site):
    assert len(pages(site)) >= 3
    assert outside(site) == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<script src="//cdn.example/x.js"></script>',
        '<script>const url = "https://cdn.example/x.js"</script>',
        '<link rel="stylesheet" href="https://cdn.example/x.css">',
        '<link rel="preload" href="https://cdn.example/x.woff2">',
        '<img alt="" src="https://cdn.example/x.png">',
        "<style>@import 'https://cdn.example/x.css'</style>",
        '<p style="background: url(https://cdn.example/x.png)">',
    ],
)
def test_what_comes_from_elsewhere_is_found(tmp_path, html):
    (tmp_path / "x.html").write_text(f"<html><body>{html}</body></html>")
    (found,) = outside(tmp_path)
    assert "cdn.example/x" in found


def test_links_to_follow_are_no_loads(tmp_path):
    (tmp_path / "x.html").write_text('<a href="https://doi.org/x">x</a><code>https://x</code>')
    (tmp_path / "x.css").write_text("a { background: url('data:image/png;base64,AA') }")
    assert outside(tmp_path) == []


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_without_a_complaint_or_an_outside_request(site, browser, scheme):
    complaints = []
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844})
    for path in pages(site):
        page = context.new_page()

        def complain(what, name=path.name):
            complaints.append(f"{name}: {what}")

        page.on("pageerror", complain)
        page.on(
            "console",
            lambda message, say=complain: message.type == "error" and say(message.text),
        )
        page.on(
            "request",
            lambda request, say=complain: (
                request.url.startswith(("file:", "data:", "blob:")) or say(request.url)
            ),
        )
        page.on("requestfailed", lambda request, say=complain: say(f"missing {request.url}"))
        page.goto(path.as_uri(), wait_until="networkidle")
        if page.query_selector(".math"):
            page.wait_for_selector("mjx-container", state="attached", timeout=20_000)
        # a phone: what is too wide scrolls by itself, and the page does not
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wide > 0:
            complain(f"{wide} pixels wider than a phone")
        page.close()
    context.close()
    assert complaints == []


def test_figures_keep_the_dark_page_behind_them(site, browser):
    page = browser.new_page(color_scheme="dark")
    figures = 0
    for path in pages(site):
        page.goto(path.as_uri())
        for image in page.query_selector_all(".bd-article img"):
            figures += 1
            style = image.evaluate(
                "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).filter]"
            )
            assert style == ["rgba(0, 0, 0, 0)", "none"], f"{path.name}: {style}"
    page.close()
    assert figures


def test_slider_of_a_flipbook_turns_the_leaf(browser):
    figures = [plt.figure(figsize=(1, 1)) for _ in range(3)]
    labels = ["one", "it's <two>", "three"]
    page = browser.new_page()
    page.set_content(Flipbook(figures, labels, ["a", "b", "c"], name="week")._repr_html_())
    slider = page.get_by_role("slider", name="week")
    slider.focus()
    slider.press("ArrowLeft")
    assert [image.is_visible() for image in page.locator("img").all()] == [False, True, False]
    assert page.locator("output").inner_text() == labels[1]
    assert slider.get_attribute("aria-valuetext") == labels[1]
