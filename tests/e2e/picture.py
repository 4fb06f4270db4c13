"""A dashboard as SVG: a picture that is text, so that it can be kept with the sources."""

from __future__ import annotations

import base64
from pathlib import Path

from playwright.sync_api import Page, ViewportSize
from superset_client import CHART, WINDOW, open_dashboard

DRAWING = Path(__file__).with_name("picture.js")
MAP_CANVAS, LEGEND = "canvas[id^=deckgl]", "[data-test=slice-container] ul"
MARGIN = 32
"""Pixels below the last chart: the edge of its frame, and as much as is between two frames."""


def draw(page: Page, base: str, slug: str) -> str:
    """Open a dashboard and return it as SVG, without the bar of menus above it.

    Texts, boxes and icons are those of the page; charts are what ECharts drew. A map, which is drawn by
    WebGL, is traced from its pixels, in plain colours.
    """
    page.add_init_script(path=DRAWING)
    open_dashboard(page, base, slug)
    ends = page.locator(CHART).evaluate_all("all => all.map(one => one.getBoundingClientRect().bottom)")
    page.set_viewport_size(ViewportSize(width=WINDOW["width"], height=round(max(ends)) + MARGIN))
    for one in page.locator(MAP_CANVAS).all():
        # Without the legend that lies on it, which is drawn as text.
        seen = one.screenshot(mask=[page.locator(LEGEND)], mask_color="#ffffff")
        address = "data:image/png;base64," + base64.b64encode(seen).decode()
        one.evaluate("(canvas, address) => traced(canvas, address)", address)
    svg = page.evaluate("title => drawnAsSvg('main', title)", page.title())
    return f"{svg}\n"
