"""Superset as programs see it, and as a person sees it in a browser."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from playwright.sync_api import Page, ViewportSize, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE = 120_000
"""Milliseconds until something must be on a page; far more than it takes."""
WINDOW = ViewportSize(width=1600, height=1000)
CHART, DRAWN = "[data-test-chart-name]", "[data-test=slice-container]"
STILL_LOADING = ".loading, [data-test='loading-indicator']"


@dataclass
class Client:
    """Somebody who has signed in at `base`, by the API."""

    base: str
    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        self._session = requests.Session()
        answer = self.sign_in()
        assert answer.status_code == 200, answer.text
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        token = self._session.get(f"{self.base}/api/v1/security/csrf_token/", timeout=60)
        self._session.headers["X-CSRFToken"] = token.json()["result"]
        self._session.headers["Referer"] = self.base

    def sign_in(self) -> requests.Response:
        words = {"username": self.user, "password": self.password, "provider": "db"}
        return requests.post(f"{self.base}/api/v1/security/login", json=words, timeout=60)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, f"{self.base}/api/v1/{path}", timeout=120, **options)

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """The chart, dashboard or dataset of that title."""
        (found,) = (
            one
            for one in self.ask("GET", f"{kind}/?q=(page_size:100)").json()["result"]
            if name in (one.get("slice_name"), one.get("dashboard_title"), one.get("table_name"))
        )
        return dict(found)

    def query(self, sql: str) -> requests.Response:
        """Run a query in SQL Lab, on our database."""
        (database,) = self.ask("GET", "database/").json()["result"]
        words = {"database_id": database["id"], "sql": sql, "runAsync": False, "queryLimit": 10}
        return self.ask("POST", "sqllab/execute/", json=words)


@contextmanager
def browser_of(base: str, user: str, password: str) -> Iterator[Page]:
    """A page of a browser in which `user` has signed in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(PATIENCE)
        page.goto(f"{base}/login/")
        page.fill("#username", user)
        page.fill("#password", password)
        page.click("[data-test=login-button]")
        page.wait_for_url("**/welcome/**")
        yield page
        browser.close()


def open_dashboard(page: Page, base: str, slug: str, filters: str = "") -> list[str]:
    """Open a dashboard, wait until all its charts have drawn, return their titles.

    `filters` are set, as they stand in a page's address. The window is made as high as the dashboard,
    since charts below its edge are not drawn.
    """
    page.set_viewport_size(WINDOW)
    page.goto(f"{base}/superset/dashboard/{slug}/?native_filters=({quote(filters)})")
    page.wait_for_selector(CHART)
    height = page.locator("[data-test=grid-container]").evaluate("element => element.scrollHeight")
    page.set_viewport_size({**WINDOW, "height": int(height) + 250})
    page.wait_for_function(
        """([chart, drawn, loading]) => {
          const count = (one) => document.querySelectorAll(one).length;
          return count(drawn) === count(chart) && count(loading) === 0;
        }""",
        arg=[CHART, DRAWN, STILL_LOADING],
    )
    return [str(one.get_attribute("data-test-chart-name")) for one in page.locator(CHART).all()]


def filtered(name: str, what: str, value: str) -> str:
    """A filter of a dashboard, set: `what` it adds to queries, `value` what a person sees."""
    own = f"NATIVE_FILTER-{name}"
    return f"{own}:(id:{own},extraFormData:({what}),filterState:(value:{value}),ownState:())"


def colours_of(page: Page, picture: bytes) -> dict[str, int]:
    """How many pixels of each colour a picture has; only a browser has to be able to read it."""
    found: dict[str, int] = page.evaluate(
        """async (address) => {
          const image = new Image();
          image.src = address;
          await image.decode();
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [image.width, image.height];
          const context = canvas.getContext("2d");
          context.drawImage(image, 0, 0);
          const bytes = context.getImageData(0, 0, image.width, image.height).data;
          const found = {};
          for (let at = 0; at < bytes.length; at += 4) {
            const colour = `rgb(${bytes[at]}, ${bytes[at + 1]}, ${bytes[at + 2]})`;
            found[colour] = (found[colour] || 0) + 1;
          }
          return found;
        }""",
        "data:image/png;base64," + base64.b64encode(picture).decode(),
    )
    return found


def number_on(page: Page, title: str) -> int:
    """The big number of a chart."""
    chart = page.locator(f'[data-test-chart-name="{title}"]')
    shown = chart.locator(".header-line").first.inner_text()
    return int(re.sub(r"[^0-9]", "", shown))
