"""Reports in a real browser: offline, on a phone and on a desk, by day and by night."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from saltus.report import write_report, write_run_report

playwright = pytest.importorskip("playwright.sync_api")

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking"]  # fmt: skip
PHONE, DESK = (390, 844), (1440, 900)
SMALLEST = 9  # pixels of any text

TOO_SMALL = """least => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !parent.getClientRects().length) continue;
    if (parseFloat(getComputedStyle(parent).fontSize) < least) found.push(parent.outerHTML);
  }
  return found;
}"""
WIDER_THAN_THE_PAGE = """width => [...document.querySelectorAll("body *")]
  .filter(each => !each.closest(".scroll, pre, .command code, svg"))
  .filter(each => each.getBoundingClientRect().right > width + 0.5)
  .map(each => each.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    found = os.environ.get("SALTUS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(NAMES)}, and SALTUS_CHROMIUM is not set")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """visit(path, size, scheme) → the page; afterwards nothing may have gone wrong in it."""
    wrong, contexts = [], []

    def open_page(path, size, scheme="light"):
        phone = size == PHONE
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme,
            reduced_motion="reduce", is_mobile=phone, has_touch=phone,
        )  # fmt: skip
        contexts.append(context)
        context.set_default_timeout(5_000)
        context.on("request", lambda one: allowed(one.url) or wrong.append(one.url))
        page = context.new_page()
        page.on("console", lambda said: said.type in HARMLESS or wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


HARMLESS = {"log", "info", "debug"}


def allowed(url: str) -> bool:
    return url.startswith(("file:", "data:"))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict:
    """Pages that were written already: every test of them takes the same one."""
    return {"folder": tmp_path_factory.mktemp("pages")}


@pytest.fixture
def study_page(written, make_report, make_run, composed):
    """A study with figures of its own, two arms that leap, headline series and attention."""
    if "study" not in written:
        report = make_report()
        arms = {**report.arms, "late": make_run("late", leap=45)}
        report = replace(report, study=replace(report.study, figures=composed), arms=arms)
        written["study"] = write_report([report], written["folder"] / "study.html")
    return written["study"]


@pytest.fixture
def run_page(written, make_run):
    """A run of four seeds that all leap."""
    if "run" not in written:
        written["run"] = write_run_report(make_run("alone"), written["folder"] / "run.html")
    return written["run"]


@pytest.fixture
def kinds_page(written, make_report, kinds):
    """A study whose figures are of every kind."""
    if "kinds" not in written:
        report = make_report()
        study = replace(report.study, figures=lambda arms: iter(kinds))
        written["kinds"] = write_report(
            [replace(report, study=study)], written["folder"] / "kinds.html"
        )
    return written["kinds"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("kind", ["study_page", "run_page", "kinds_page"])
def test_a_page_fits_and_says_nothing_wrong(visit, request, kind, size, scheme):
    page = visit(request.getfixturevalue(kind), size, scheme)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size[0], page.evaluate(WIDER_THAN_THE_PAGE, size[0])
    assert page.evaluate(TOO_SMALL, SMALLEST) == []
    for number in page.locator(".tick.y:visible, .category").all():
        assert number.bounding_box()["x"] >= 0, number.inner_text()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(251, 250, 246)", "dark": "rgb(17, 20, 26)"}[scheme]
    for figure in page.locator("figure").all():
        box = figure.bounding_box()
        assert box["width"] > 200 and box["height"] > 80
        assert figure.locator("figcaption").inner_text()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("kind", ["study_page", "run_page"])
def test_every_figure_reads_out_what_lies_under_the_pointer(visit, request, kind, size):
    page = visit(request.getfixturevalue(kind), size)
    plots = page.locator(".fans .plot").all()
    assert len(plots) >= 3
    for plot in plots:
        plot.tap() if size == PHONE else plot.hover()
        tip = page.locator(".tip")
        assert tip.count() == 1 and tip.locator("tr").count() >= 1
        assert "seed" in tip.inner_text() or "computed" in tip.inner_text()
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
    page.locator("h1").tap() if size == PHONE else page.locator("h1").hover()
    assert page.locator(".tip").count() == 0


def test_the_keyboard_moves_along_survival_curves(visit, run_page):
    page = visit(run_page, DESK)
    plot = page.locator(".leaping .plot")
    plot.focus()
    plot.press("ArrowRight")
    first = page.locator(".tip b").first.inner_text()
    tip = page.locator(".tip").inner_text()
    assert "95 %" in tip and "of 4 seeds at risk" in tip
    plot.press("ArrowRight")
    assert page.locator(".tip b").first.inner_text() != first
    plot.press("Escape")
    assert page.locator(".tip").count() == 0


def test_survival_is_read_right_continuously(visit, run_page):
    page = visit(run_page, DESK)
    plot = page.locator(".leaping .plot")
    box = plot.bounding_box()
    shares = []
    for place in (0.02, 0.5, 0.99):
        plot.hover(position={"x": place * box["width"], "y": 20})
        shares.append(float(page.locator(".tip tr b").inner_text()))
    assert shares[0] == 1 and sorted(shares, reverse=True) == shares


def test_attention_moves_with_the_slider_and_plays(visit, run_page):
    page = visit(run_page, DESK)
    figure = page.locator(".films")
    canvas, slider = figure.locator("canvas").first, figure.locator("input.steps")
    painted = "each => each.toDataURL()"
    last = canvas.evaluate(painted)
    slider.fill("0")
    assert figure.locator("output.step").inner_text() == "step 0"
    assert canvas.evaluate(painted) != last
    play = figure.locator("button.play")
    play.click()
    assert play.inner_text() == "Pause"
    playwright.expect(play).to_have_text("Play")
    assert figure.locator("output.step").inner_text() == "step 60"
    assert canvas.evaluate(painted) == last
    figure.locator("select.view").select_option("1")
    assert canvas.evaluate(painted) != last
    canvas.hover()
    assert "query" in figure.locator(".map-foot").first.inner_text()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_cells_points_and_rows_are_read_out(visit, kinds_page, size):
    page = visit(kinds_page, size)
    plots = page.locator(".spotted .plot").all()
    assert len(plots) == 2 + 1 + 1 + 3 + 1 + 2
    for plot in plots:
        plot.tap() if size == PHONE else plot.hover()
        tip = page.locator(".tip")
        assert tip.count() == 1 and tip.locator("b").first.inner_text()
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
    page.locator("h1").tap() if size == PHONE else page.locator("h1").hover()
    assert page.locator(".tip").count() == 0


def test_the_keyboard_walks_over_cells_and_down_bars(visit, kinds_page):
    page = visit(kinds_page, DESK)
    said = page.locator(".tip b").first

    def walk(plot, *keys):
        plot.focus()
        heads = []
        for key in keys:
            plot.press(key)
            heads.append(said.inner_text())
        plot.press("Escape")
        assert page.locator(".tip").count() == 0
        return heads

    cells = page.locator(".heat-maps .plot").first
    assert walk(cells, "ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp") == [
        "layer 0, head 0", "layer 0, head 1", "layer 1, head 1", "layer 1, head 0",
        "layer 0, head 0",
    ]  # fmt: skip
    rows = page.locator(".bars .plot").first
    assert walk(rows, "ArrowDown", "ArrowDown", "ArrowDown") == [
        "row heads", "every head of the first two layers", "every head of the first two layers",
    ]  # fmt: skip


def test_a_cell_says_its_number_and_interval(visit, kinds_page, kinds):
    page, found = visit(kinds_page, DESK), kinds[0].maps[0]
    page.locator(".heat-maps .cell").nth(2 * 8 + 5).hover()
    tip = page.locator(".tip").inner_text()
    ends = found.low[2, 5], found.values[2, 5], found.high[2, 5]
    for value in ends:
        assert f"{value:.4g}".replace("-", "−") in tip
    assert "95\u00a0%" in tip and "6 seeds" in tip


def test_numbers_of_cells_are_seen_only_where_they_fit(visit, kinds_page):
    for size, some in ((DESK, True), (PHONE, False)):
        first = visit(kinds_page, size).locator(".heat-maps .cell span").first
        assert first.is_visible() == some


def test_a_film_moves_maps_points_and_the_mark_on_the_loss(visit, kinds_page):
    page = visit(kinds_page, DESK)
    film = page.locator(".films", has=page.locator(".clouds"))
    slider, output = film.locator("input.steps"), film.locator("output.step")
    canvas, dot = film.locator("canvas").first, film.locator(".cloud .dots").first
    loss, rule = film.locator("[data-takes='0']"), film.locator(".rule")

    def state():
        place = rule.evaluate("each => parseFloat(each.style.left)")
        return canvas.evaluate("each => each.toDataURL()"), dot.get_attribute("d"), place

    assert output.inner_text() == "step 190" and state()[2] == 100
    last = state()
    slider.focus()
    slider.press("Home")
    assert output.inner_text() == "step 100"
    first = state()
    assert all(one != other for one, other in zip(first, last, strict=True)) and first[2] == 0
    slider.press("ArrowRight")
    assert output.inner_text() == "step 110"
    loss.locator(".plot").click()
    assert output.inner_text() in {"step 140", "step 150"}
    film.locator("select.view").select_option("1")
    assert output.inner_text() in {"step 440", "step 450"}
    assert not loss.is_visible() and film.locator("[data-takes='1']").is_visible()
    assert film.locator(".map-head b").first.inner_text() == "seed 3"
    canvas.focus()
    canvas.press("ArrowDown")
    canvas.press("ArrowDown")
    assert "query 1, key 0: " in film.locator(".map-foot").first.inner_text()
    film.locator(".cloud .plot").first.hover()
    assert page.locator(".tip").inner_text()


def test_buttons_and_details_do_what_they_say(visit, study_page):
    page = visit(study_page, DESK)
    paper = "getComputedStyle(document.body).backgroundColor"
    before, theme = page.evaluate(paper), page.locator("button.theme")
    assert theme.inner_text() == "Dark"
    theme.click()
    assert theme.inner_text() == "Light" and page.evaluate(paper) != before
    theme.click()
    assert page.evaluate(paper) == before
    copy = page.locator(".command .copy")
    copy.click()
    playwright.expect(copy).to_have_text("Copied")
    details = page.locator("details").first
    assert not details.locator("pre").is_visible()
    details.locator("summary").click()
    assert "kind: moving-window-sum" in details.locator("pre").inner_text()
