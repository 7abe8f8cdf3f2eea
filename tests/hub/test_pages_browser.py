"""The pages in a real Chromium: clicked through, by day and by night, on a phone, and under attack."""

import io
import json
import os
import re
import shutil
from urllib.parse import urlsplit

import pytest
from pages_support import MARK, change, dataset, parquet, statement, two_versions
from PIL import Image
from test_pages_markdown import TRICKS

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "These tests need Chromium: install it, or set CHROMIUM to its path"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser, hub):
    """Opens tabs in which anything from elsewhere, any dialog and any error of the page fails the test."""
    wrong, contexts = [], []

    def new(**how):
        contexts.append(browser.new_context(base_url=hub.endpoint, **how))
        tab = contexts[-1].new_page()

        def check(request):
            if urlsplit(request.url).netloc != urlsplit(hub.endpoint).netloc or "pwned" in request.url:
                wrong.append(request.url)

        tab.on("request", check)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        return tab

    yield new
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="module")
def published(hub):
    """A dataset that fills every kind of page, with words too long for any screen."""
    name, _, _ = two_versions(hub)
    long = "a-very-long-word-" * 30
    rows = [
        {
            "id": f"row{n}",
            "text": f"{n} {long} " + "words and " * 90,
            "messages": [{"role": "user", "content": MARK}, {"role": "assistant", "content": long}],
            "score": n,
        }
        for n in range(250)
    ]
    wide = f"| {' | '.join('abcdefghijklmnop')} |\n|{'---|' * 16}\n|{f' {long} |' * 16}"
    card = f"# Rewritten\n\n{long}\n\n{wide}\n\n`{long}`\n"
    made = statement(
        "rewrite", [("rows", f"hf://datasets/demo/{'x' * 90}@{'1' * 40}"), ("f", long)], read=9, kept=5
    )
    files = {"data/train.parquet": parquet(rows, 100), "README.md": card.encode(), "provenance.json": made}
    two = change(
        hub, name, files | {f"notes/{long[:200]}.txt": long.encode() * 3}, message=f"rewrite: {long}"
    )
    hub.api().create_tag(name, tag="v3", revision=two, repo_type="dataset")
    change(hub, name, {"a.txt": long.encode()}, message=f"Propose {long}", create_pr=True)
    return name


def pages(name):
    base = f"/datasets/{name}"
    inside = [
        "/tree/main", "/tree/v1/pictures", "/tree/missing", "/blob/main/recipe.yaml",
        "/blob/v1/pictures/p.png", "/blob/main/README.md", "/blob/main/data/train.parquet",
        "/commits/main", "/commit/v3", "/versions", "/viewer", "/viewer?q=words", "/viewer?row=3",
        "/viewer?id=none", "/lineage", "/discussions", "/discussions/1",
    ]  # fmt: skip
    return [
        "/",
        "/demo",
        "/datasets",
        "/login",
        "/logout",
        "/demo/none",
        base,
        *(base + path for path in inside),
    ]


def test_everything_can_be_clicked_through(open_page, published):
    tab = open_page()
    tab.goto("/")
    tab.get_by_label("Name").fill(published.partition("/")[2])
    tab.get_by_role("button", name="Find").click()
    tab.get_by_role("link", name=published).click()
    tab.get_by_role("link", name="Files").click()
    tab.get_by_role("link", name="recipe.yaml").click()
    assert "temperature: 0.9" in tab.get_by_role("region", name="Contents").inner_text()
    tab.get_by_label("Revision", exact=True).select_option("v1")
    tab.get_by_role("button", name="Show").click()
    assert "temperature: 0.7" in tab.get_by_role("region", name="Contents").inner_text()
    tab.get_by_role("link", name="Commits").click()
    tab.get_by_role("link", name="rewrite: 3 of 6 rows").click()
    assert tab.get_by_text("6 files changed").or_(tab.get_by_text("5 files changed")).is_visible()
    tab.get_by_role("link", name="Versions").click()
    tab.get_by_role("link", name="v3", exact=True).click()
    tab.get_by_role("link", name="Rows", exact=True).click()
    assert "revision=v3" in tab.url
    tab.get_by_role("link", name="Next →").click()
    assert tab.get_by_role("row").nth(1).get_by_text("row100").is_visible()
    fold = tab.locator("details", has_text="more characters").first
    fold.locator("summary").click()
    assert fold.get_attribute("open") is not None
    tab.get_by_label("Text").fill("ROW24")
    tab.get_by_role("button", name="Search").click()
    assert tab.get_by_text("11 rows with").is_visible()
    tab.get_by_role("link", name="250", exact=True).click()
    assert tab.get_by_role("heading", name="Row 250 of 250").is_visible()
    tab.get_by_role("link", name="Lineage").click()
    assert tab.locator("svg.bf-lineage").is_visible()
    tab.locator("svg.bf-lineage a").last.click()
    assert tab.get_by_role("heading", level=1, name=published).is_visible()
    tab.get_by_text("Load it").first.click()
    assert tab.get_by_text('revision="v3"').first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone_and_all_can_be_read(open_page, published, scheme):
    tab = open_page(viewport=PHONE, color_scheme=scheme)
    for path in pages(published):
        tab.goto(path)
        assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert tab.evaluate(CONTRASTS) == [], path


# Everything with text of its own: does it stand out from what is behind it, by WCAG's measure?
CONTRASTS = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map((part) => part / 255)
      .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (parts(color)[3] !== 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const poor = [];
  for (const node of document.querySelectorAll('body *:not(svg *, option, .number)')) {
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!text || !node.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([node.className || node.tagName, ratio.toFixed(1)].join(' '));
  }
  return [...new Set(poor)];
}"""


def test_night_is_dark_and_day_is_light(open_page, published):
    grounds = []
    for scheme in ("light", "dark"):
        tab = open_page(color_scheme=scheme)
        tab.goto(f"/datasets/{published}")
        color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, re.findall(r"\d+", color)[:3])))
    assert grounds[0] > 700
    assert grounds[1] < 100


def test_pages_have_landmarks_labels_and_a_way_past_the_menu(open_page, published):
    tab = open_page()
    for path in pages(published):
        tab.goto(path)
        assert tab.title(), path
        assert tab.get_by_role("main").count() == 1, path
        assert tab.get_by_role("heading", level=1).count() >= 1, path
        fields = "input:not([type=hidden]):not([type=checkbox]), select"
        assert tab.eval_on_selector_all(fields, "all => all.every((one) => one.labels.length === 1)"), path
        assert tab.eval_on_selector_all("main img", "all => all.every((one) => one.hasAttribute('alt'))"), (
            path
        )
        doubled = "all => all.map((one) => one.id).filter((id, at, ids) => ids.indexOf(id) !== at)"
        assert tab.eval_on_selector_all("[id]", doubled) == [], path
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Skip to the content", path


def test_nothing_in_a_repo_runs(open_page, hub):
    attack = "window.__pwned = 1; new Image().src = '/pwned'; alert(1)"
    tricks = "\n\n".join(trick.replace("alert(1)", attack) for trick in TRICKS)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{attack}"><script>{attack}</script></svg>'
    html = f'<!doctype html><script>{attack}</script><img src=x onerror="{attack}">'
    head = json.dumps({"license": f"<script>{attack}</script>", "tags": [f'<img src=x onerror="{attack}">']})
    card = f"---\n{head}\n---\n{tricks}\n\n![svg](x.svg)\n"
    evil = f"<script>{attack}</script>"
    files = {
        "README.md": card.encode(),
        "x.svg": svg.encode(),
        "x.html": html.encode(),
        f"<img src=x onerror={attack[:20]}>.txt": evil.encode(),
        "data/train.parquet": parquet(
            [{"id": evil, evil: evil, "messages": [{"role": evil, "content": evil}]}]
        ),
        "provenance.json": statement(
            evil,
            [(evil, evil), ("x", "javascript:alert(1)")],
            read=1,
            kept=1,
            rows={evil: 1},
            changes={"since": evil, "rows": {evil: {}}, "settings": [[evil, evil, evil]]},
        ),
    }
    name, _ = dataset(hub, files, message=evil)
    api = hub.api()
    api.create_tag(name, tag="v1", repo_type="dataset")
    api.create_discussion(name, evil, repo_type="dataset", description=tricks)
    tab = open_page()
    base = f"/datasets/{name}"
    paths = [
        "/tree/v1", "/blob/main/README.md", "/blob/main/README.md?plain=1", "/blob/main/x.svg",
        "/blob/main/x.html", "/viewer", "/viewer?row=0", "/viewer?q=script", "/versions",
        "/commit/v1", "/commits/v1", "/lineage", "/discussions", "/discussions/1",
        "/resolve/main/x.svg", "/resolve/main/x.html", "/raw/main/x.svg",
    ]  # fmt: skip
    for path in ["", *paths]:
        tab.goto(base + path)
        tab.mouse.move(200, 300)
        assert tab.evaluate("window.__pwned") is None, path
        assert tab.evaluate("document.querySelectorAll('main script, iframe, object, embed').length") == 0, (
            path
        )


def test_private_repo_opens_after_logging_in_and_closes_after_logging_out(open_page, hub):
    name, _ = dataset(hub, {"a.txt": b"x"})
    hub.api().update_repo_settings(name, repo_type="dataset", visibility="private")
    tab = open_page()
    tab.goto(f"/datasets/{name}/tree/main?page=1")
    tab.get_by_label("Token").fill("hf_wrong")
    tab.get_by_role("button", name="Log in").click()
    assert tab.get_by_role("alert").inner_text() == "This Hub does not know that token."
    tab.get_by_label("Token").fill(hub.token)
    tab.get_by_role("button", name="Log in").click()
    assert tab.get_by_role("link", name="a.txt").is_visible()
    tab.get_by_role("link", name="Log out").click()
    tab.get_by_role("button", name="Log out").click()
    tab.goto(f"/datasets/{name}")
    assert tab.get_by_label("Token").is_visible()


def test_pictures_of_the_repo_are_shown_and_the_lineage_leads_on(open_page, hub):
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30"/></svg>'
    )
    png = io.BytesIO()
    Image.new("RGB", (20, 10)).save(png, "PNG")
    card = b"![one](pictures/a.png)\n\n<img src='pictures/b.svg' alt='two'>\n"
    files = {"README.md": card, "pictures/a.png": png.getvalue(), "pictures/b.svg": svg}
    name, oid = dataset(hub, files)
    made, _ = dataset(hub, {"provenance.json": statement("mix", [("rows", f"hf://datasets/{name}@{oid}")])})
    tab = open_page()
    tab.goto(f"/datasets/{name}", wait_until="networkidle")
    widths = "all => all.map((one) => one.naturalWidth)"
    assert tab.eval_on_selector_all(".card img", widths) == [20, 40]
    tab.goto(f"/datasets/{name}/blob/main/pictures/b.svg", wait_until="networkidle")
    assert tab.eval_on_selector_all(".picture img", widths) == [40]
    tab.goto(f"/datasets/{made}/lineage")
    tab.locator("svg.bf-lineage a", has_text=name).click()
    assert tab.get_by_role("heading", level=1, name=name).is_visible()
