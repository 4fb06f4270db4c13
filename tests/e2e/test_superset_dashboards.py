"""The dashboards, in a real browser."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from picture import draw
from playwright.sync_api import Locator, Page, Request
from superset_client import (
    CHART,
    CHROMIUM,
    DRAWN,
    Client,
    browser_of,
    colours_of,
    filtered,
    number_on,
    open_dashboard,
)
from whole_installation import Installation, wait_for

from cht_sync.settings import CHECKOUT

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="there is no chromium (apt-get install chromium)"
)

CHARTS = {"programme-overview": 14, "data-quality": 11, "sync-health": 11}
MAP = '[data-test-chart-name="Where reports come from (a point: 100 m)"]'
EMPTY = ("No results were returned", "No data", "Unexpected error", "An error occurred")


@pytest.fixture(scope="module")
def page(with_superset: Installation) -> Iterator[Page]:
    settings = with_superset.settings
    with browser_of(f"http://127.0.0.1:{settings.superset_port}", "admin", settings.superset_password) as one:
        yield one


@pytest.mark.parametrize("slug", CHARTS)
def test_every_chart_draws_and_none_is_empty(
    page: Page, administrator: Client, pictures: Path, slug: str
) -> None:
    elsewhere: list[Request] = []
    page.on("request", lambda one: elsewhere.append(one) if not _local(one.url, administrator) else None)
    titles = open_dashboard(page, administrator.base, slug)
    _wait_until_drawn(page)
    page.screenshot(path=pictures / f"{slug}.png")
    assert len(titles) == CHARTS[slug]
    for words in EMPTY:
        assert page.get_by_text(words).count() == 0, words
    assert page.locator(".ant-alert-error, [role=alert]").count() == 0
    assert "Data as of (UTC)" in titles
    left = [one.url for one in elsewhere if one.failure != "csp"]
    assert left == [], "the browser asks other hosts"


def test_a_report_in_couchdb_is_on_the_dashboard_after_the_interval(
    page: Page, administrator: Client, with_superset: Installation
) -> None:
    open_dashboard(page, administrator.base, "programme-overview")
    before = number_on(page, "Reports")
    report = {"type": "data_record", "form": "pregnancy", "reported_date": 1735689600000, "fields": {}}
    with_superset.couchdb("PUT", "medic/one-more-report", json=report)
    # Nobody opens the page again: it asks anew by itself, every 30 seconds.
    wait_for(lambda: number_on(page, "Reports") == before + 1, "the number to change", with_superset.logs)


def test_the_picture_of_the_readme_is_drawn_from_the_dashboard(
    page: Page, administrator: Client, pictures: Path
) -> None:
    svg = draw(page, administrator.base, "programme-overview")
    (pictures / "programme-overview.svg").write_text(svg)
    titles = [str(one.get_attribute("data-test-chart-name")) for one in page.locator(CHART).all()]
    assert [title for title in titles if f">{title}</text>" not in svg] == []
    assert svg.count("<path") > 100
    assert "<image" not in svg
    if os.environ.get("UPDATE_GOLDEN"):
        (CHECKOUT / "docs" / "images" / "programme-overview.svg").write_text(svg)


def test_the_map_has_points_of_every_area_in_its_colour(
    page: Page, administrator: Client, with_superset: Installation
) -> None:
    open_dashboard(page, administrator.base, "programme-overview")
    legend = _legend(page)
    assert legend.keys() == _areas(with_superset)
    wait_for(lambda: all(_pixels(page, colour) > 20 for colour in legend.values()), "points on the map")


def test_the_map_follows_the_filters(page: Page, administrator: Client, with_superset: Installation) -> None:
    area = min(_areas(with_superset))
    one = filtered("area", f"filters:!((col:area,op:IN,val:!('{area}')))", f"!('{area}')")
    open_dashboard(page, administrator.base, "programme-overview", one)
    legend = _legend(page)
    assert legend.keys() == {area}
    wait_for(lambda: _pixels(page, legend[area]) > 20, "points on the map")


def test_a_map_without_places_says_so(page: Page, administrator: Client) -> None:
    years = "'1970-01-01 : 1971-01-01'"
    never = filtered("period", f"time_range:{years}", years)
    open_dashboard(page, administrator.base, "programme-overview", never)
    assert page.locator(MAP).get_by_text("No results were returned").count() == 1


def _legend(page: Page) -> dict[str, str]:
    """The areas that the map names, and their colours."""
    entries: list[Locator] = page.locator(f"{MAP} li").all()
    return {
        entry.inner_text().strip("◼ \n"): str(entry.locator("span").evaluate("one => one.style.color"))
        for entry in entries
    }


def _wait_until_drawn(page: Page) -> None:
    """Wait until every picture has colours, and the page looks the same twice: nothing moves any more."""
    for picture in page.locator(f"{DRAWN} canvas").all():
        wait_for(lambda one=picture: _coloured(page, one.screenshot()), "a picture in colours")
    shown = [page.screenshot()]

    def still() -> bool:
        shown.append(page.screenshot())
        return shown[-1] == shown[-2]

    wait_for(still, "the page to stand still")


def _coloured(page: Page, picture: bytes) -> bool:
    """Whether more than a few pixels are neither white nor grey, as text and axes are."""
    numbers = [
        [int(one) for one in re.findall(r"\d+", colour)] + [count]
        for colour, count in colours_of(page, picture).items()
    ]
    return sum(count for *rgb, count in numbers if max(rgb) - min(rgb) > 60) > 50


def _pixels(page: Page, colour: str) -> int:
    """How many pixels of the map, without its legend, have a colour."""
    legend = page.locator(f"{MAP} ul")
    picture = page.locator(f"{MAP} canvas").screenshot(mask=[legend], mask_color="#ffffff")
    return colours_of(page, picture).get(colour, 0)


def _areas(installation: Installation) -> set[str]:
    """The areas from which reports with a place have come."""
    found = installation.sql("""
        select distinct ancestor_names[2]
        from dbt.data_record join dbt.contact_hierarchy as contact on contact.uuid = contact_uuid
        where latitude is not null
    """)
    return {name for (name,) in found}


def _local(address: str, client: Client) -> bool:
    return address.startswith((client.base, "data:", "blob:"))
