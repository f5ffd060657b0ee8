"""The page in a real Chromium, on a phone's width and on a desk's."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from driftrates.paper import write_html
from driftrates.paper.page import image, inline
from papers import FIGURES, TABLES, TEXT

CHROMIUM = next((c for c in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if c), None)

PROBE = """<script>
addEventListener("load", async () => {
  const images = [...document.images];
  images.forEach(i => { i.loading = "eager"; });
  await Promise.all(images.map(i => i.decode().catch(() => 0)));
  document.querySelectorAll("details").forEach(d => { d.open = true; });
  const box = b => { b.scrollLeft = 40; return [b.scrollWidth - b.clientWidth, b.scrollLeft, b.getBoundingClientRect().right]; };
  const report = {
    width: document.documentElement.clientWidth,
    page: document.documentElement.scrollWidth,
    missing: images.filter(i => !i.complete || !i.naturalWidth).length,
    images: images.length,
    boxes: [...document.querySelectorAll(".scroll, .image")].map(box),
    dead: [...document.querySelectorAll("a[href^='#']")].map(a => a.getAttribute("href")).filter(h => !document.getElementById(h.slice(1))),
    dark: getComputedStyle(document.body).backgroundColor,
  };
  parent.postMessage(JSON.stringify(report), "*");
});
</script></body>"""

FRAME = """<!DOCTYPE html><title>frame</title><body style="margin: 0">
<script>addEventListener("message", m => { document.body.dataset.report = m.data; });</script>
<iframe src="probed.html" style="border: 0; width: %dpx; height: 844px"></iframe></body>"""
"""A window cannot be as narrow as a phone, a frame in it can."""


@pytest.fixture(scope="module")
def page(document, drawings, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "paper.html"
    write_html(document, path, template=TEXT / "paper.html", style=TEXT / "paper.css", figures=drawings)
    return path


def visit(page, folder, width, *options):
    """(what the probe reports, lines of the console) after Chromium showed the page in a window of that width."""
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    (folder / "probed.html").write_text(page.read_text().replace("</body>", PROBE))
    (folder / "frame.html").write_text(FRAME % width)
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-sync",
        "--disable-dev-shm-usage",
        *quiet,
        f"--user-data-dir={folder / 'profile'}",
    ]
    command += ["--enable-logging=stderr", "--hide-scrollbars", "--virtual-time-budget=10000", "--window-size=1300,900", *options]
    done = subprocess.run([*command, "--dump-dom", (folder / "frame.html").as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r'data-report="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace("&quot;", '"')), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_shows_everything_without_an_error(page, tmp_path, width):
    report, console = visit(page, tmp_path, width)
    assert report["width"] == width
    assert (report["images"], report["missing"], report["dead"], console) == (len(FIGURES), 0, [], [])
    assert report["page"] == width, "the page itself does not scroll sideways"
    assert max(right for *_, right in report["boxes"]) <= width


def test_tables_and_figures_scroll_in_their_own_box_on_a_phone(page, tmp_path):
    report, _ = visit(page, tmp_path, 390)
    wide = [(hidden, scrolled) for hidden, scrolled, _ in report["boxes"] if hidden > 0]
    assert len(wide) > len(FIGURES)
    assert all(scrolled == min(40, hidden) for hidden, scrolled in wide)


def test_the_page_follows_a_dark_theme(page, tmp_path):
    report, _ = visit(page, tmp_path, 390, "--blink-settings=preferredColorScheme=0")
    assert report["dark"] == "rgb(22, 22, 22)"


def test_the_browser_would_tell_a_broken_page(page, tmp_path):
    broken = tmp_path / "broken.html"
    faults = (
        '<img src="data:image/png,nothing"><div style="width: 2000px">x</div><a href="#nowhere">x</a><script>undefinedFunction()</script>'
    )
    broken.write_text(page.read_text().replace("<main>", f"<main>{faults}", 1))
    report, console = visit(broken, tmp_path, 390)
    assert (report["missing"], report["dead"], len(console)) == (1, ["#nowhere"], 1)
    assert report["page"] > 390


def test_the_page_stands_alone(page):
    text = page.read_text()
    assert not re.search(r"<(script|link|iframe|object|base)\b|@import|url\(", text)
    addresses = re.findall(r'\b(?:src|href|srcset|data|poster)="([^"]{0,20})', text)
    assert addresses
    assert not [a for a in addresses if not a.startswith(("#", "data:image/svg+xml,"))]


def test_the_page_is_well_formed_and_complete(page, document):
    open_elements = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img", "br"):
                open_elements.append(tag)

        def handle_endtag(self, tag):
            assert open_elements.pop() == tag

    text = page.read_text()
    Check().feed(text)
    assert open_elements == []
    assert len(re.findall(r'id="figure-\w+"', text)) == len(FIGURES)
    assert len(re.findall(r'id="table-\w+"', text)) == len(TABLES)
    rows = sum(len(t.rows) for _, t in document.ledger)
    assert sum(map(int, re.findall(r"\((\d+) rows\)", text))) == rows > 100
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_an_image_is_the_drawing_to_a_hundredth_of_a_point(drawings):
    address = image(drawings / "rates.svg")
    tree = ElementTree.fromstring(unquote(address.removeprefix("data:image/svg+xml,")))
    (path,) = tree.iter("{http://www.w3.org/2000/svg}path")
    assert path.attrib["d"] == "M 1.23 2.5 L 500.99 90.1"
    assert path.attrib["transform"] == "scale(0.987654)"
    assert tree.attrib["width"] == "504pt"
    assert '"' not in address and "\n" not in address
    with pytest.raises(ValueError, match=r"nothing\.svg"):
        image(drawings / "nothing.svg")


def test_text_is_escaped():
    assert inline(["a < b & c", {"tag": "math", "children": ["x > 1"]}]) == "a &lt; b &amp; c<i>x &gt; 1</i>"
