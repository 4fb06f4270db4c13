"""A dashboard as SVG: a picture that is text, so that it can be kept with the sources."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, ViewportSize
from superset_client import CHART, WINDOW, open_dashboard

DRAWING = Path(__file__).with_name("picture.js")
MARGIN = 32
"""Pixels below the last chart: the edge of its frame, and as much as is between two frames."""


def draw(page: Page, base: str, slug: str) -> str:
    """Open a dashboard and return it as SVG, without the bar of menus above it.

    Texts, boxes and icons are those of the page; charts are what ECharts drew. What another library
    draws by WebGL leaves its place empty.
    """
    page.add_init_script(path=DRAWING)
    open_dashboard(page, base, slug)
    ends = page.locator(CHART).evaluate_all("all => all.map(one => one.getBoundingClientRect().bottom)")
    page.set_viewport_size(ViewportSize(width=WINDOW["width"], height=round(max(ends)) + MARGIN))
    svg = page.evaluate("title => drawnAsSvg('main', title)", page.title())
    return f"{svg}\n"
