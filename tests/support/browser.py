"""A real Chromium for tests of pages; whatever it complains of fails the test.

A `Chromium` is one browser; each `Visitor` has a context of its own, so that no cookie and no
setting of one test is seen by another. A visitor notes what the console says, errors of scripts,
answers that say that the server is at fault, and requests to any host but the console's.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
# A page of ours is there in some 100 ms; two cores may be shared by four test processes.
PATIENCE_MS = 15_000
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_MOST_NODES = 5
_START_S = 20.0
_FAULT = 500


def chromium_path() -> str:
    """Where the browser is; Debian calls it `chromium`."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise AssertionError("no Chromium on PATH: apt-get install chromium")


class Chromium:
    """A browser, in a `with` block.

    While it is open, no other event loop can run in its thread.
    """

    def __enter__(self) -> Self:
        expect.set_options(timeout=PATIENCE_MS)
        self._playwright = sync_playwright().start()
        self._browser: Browser = self._playwright.chromium.launch(
            executable_path=chromium_path(),
            # Without a sandbox, which root has none of; of our own pages only.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    @contextmanager
    def visitor(
        self, url: str, *, phone: bool = False, dark: bool = False, scripts: bool = True
    ) -> Iterator[Visitor]:
        """Somebody who looks at a console; what they saw is checked at the end."""
        context = self._browser.new_context(
            base_url=url,
            viewport=PHONE if phone else DESK,  # type: ignore[arg-type]  # a typed dict
            has_touch=phone,
            is_mobile=phone,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            java_script_enabled=scripts,
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(PATIENCE_MS)
        try:
            visitor = Visitor(context, url)
            yield visitor
            visitor.check()
        finally:
            context.close()


@dataclass
class Visitor:
    """One person's browser.

    Attributes:
        page: that they look at.
        troubles: what the browser complained of.
    """

    context: BrowserContext
    url: str
    troubles: list[str] = field(default_factory=list)
    _allowed: list[re.Pattern[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page: Page = self.context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"script: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("response", self._on_response)

    def log_in(self, name: str, password: str, *, after: str = "/") -> None:
        """By the login page, as a person does."""
        self.page.goto(f"/login?next={after}")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(lambda url: urlsplit(url).path != "/login")

    def see(self, path: str) -> Page:
        """Go to a page."""
        self.page.goto(path)
        return self.page

    def wait_live(self) -> None:
        """Until the page hears of changes."""
        self.page.locator("#connection[data-state=live]").wait_for()

    def allow(self, pattern: str) -> None:
        """Expect a complaint: what the test is about makes the browser say it."""
        self._allowed.append(re.compile(pattern))

    def check(self) -> None:
        """That nothing was complained of."""
        left = [one for one in self.troubles if not any(p.search(one) for p in self._allowed)]
        assert not left, "the browser complained:\n" + "\n".join(left)

    def check_accessible(self) -> None:
        """That axe-core finds nothing, and that nothing is wider than the screen."""
        results = Axe().run(
            self.page,
            options={
                "runOnly": {"type": "tag", "values": _RULES},
                "resultTypes": ["violations"],
            },
        )
        found = [_told(one) for one in results.response["violations"]]
        assert not found, f"{self.page.url} is not accessible:\n" + "\n".join(found)
        self.check_width()

    def check_width(self) -> None:
        """That the page need not be scrolled sideways."""
        wide, screen = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= screen, f"{self.page.url} is {wide} pixels wide on a screen of {screen}"

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, name: str, *, most: int = 120) -> None:
        """By the keyboard alone, to a control by its text or label; fails if it cannot be had."""
        seen = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            seen.append(self.focused())
            if seen[-1] == name:
                return
        raise AssertionError(f"no {name!r} by Tab; there are {seen}")

    def focused(self) -> str:
        """What has the focus: its label, or its text."""
        return str(
            self.page.evaluate(
                """() => {
                  const one = document.activeElement;
                  const label = one.labels?.[0]?.textContent ?? one.getAttribute("aria-label")
                    ?? one.textContent;
                  return (label ?? "").replace(/\\s+/g, " ").trim();
                }"""
            )
        )

    def ran(self) -> bool:
        """Whether a script of hostile text ran: all of ours set this."""
        return bool(self.page.evaluate("window.pwned === true"))

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """What is seen, into a file."""
        self.page.screenshot(path=path, full_page=whole, animations="disabled")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.troubles.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        there = urlsplit(request.url)
        if there.scheme in {"data", "blob", "about"}:
            return
        if there.netloc != urlsplit(self.url).netloc:
            self.troubles.append(f"request to another host: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= _FAULT:
            self.troubles.append(f"status {response.status}: {response.url}")


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """An application at a free port, in a thread; its URL."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            access_log=False,
            lifespan="on",
            # Streams of events have no end of their own.
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, name="console", daemon=True)
    thread.start()
    try:
        end = time.monotonic() + _START_S
        while not server.started:
            assert thread.is_alive(), "the server ended at its start"
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_START_S)
        assert not thread.is_alive(), "the server did not stop"


def _told(violation: dict[str, Any]) -> str:
    """A violation: the rule, where, and what would mend it."""
    lines = [f"- {violation['id']} ({violation['impact']}): {violation['help']}"]
    for node in violation["nodes"][:_MOST_NODES]:
        lines.append(f"    {' '.join(str(one) for one in node['target'])}")
        lines += [
            f"      {check['message']}"
            for kind in ("any", "all", "none")
            for check in node.get(kind, ())
        ][:2]
    more = len(violation["nodes"]) - _MOST_NODES
    return "\n".join(lines + ([f"    and {more} more"] if more > 0 else []))
