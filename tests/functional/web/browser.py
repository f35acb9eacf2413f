"""A real browser without a screen: Debian's chromium, driven by selenium."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

__all__ = ["Browser", "opened"]

#: The size of a desk's screen, in CSS pixels.
DESK = (1440, 900)


class Browser:
    """One browser with a profile of its own; :meth:`quit` leaves nothing behind."""

    def __init__(self) -> None:
        self._profile = pathlib.Path(tempfile.mkdtemp(prefix="chromium-test-"))
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        for argument in (
            "--headless=new",
            # It ends when chromedriver is no longer at the other end.
            "--remote-debugging-pipe",
            f"--user-data-dir={self._profile}",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--no-default-browser-check",
            "--hide-scrollbars",
            *(("--no-sandbox",) if os.getuid() == 0 else ()),
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = Service(
            shutil.which("chromedriver") or "chromedriver",
            popen_kw={"preexec_fn": _end_with_parent},
            # What it puts aside goes with the profile.
            env={**os.environ, "TMPDIR": str(self._profile)},
        )
        try:
            self.driver = Chrome(options=options, service=service)
        except BaseException:
            shutil.rmtree(self._profile, ignore_errors=True)
            raise
        self.driver.set_script_timeout(30)
        self.size(*DESK)

    def quit(self) -> None:
        """End the browser and its driver, and remove the profile."""
        with contextlib.suppress(Exception):
            self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    # -- what a visitor's machine decides

    def size(self, width: int, height: int, scale: float = 1.0, *, touch: bool = False) -> None:
        """Show so many CSS pixels, each of ``scale`` by ``scale`` real ones."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": touch},
        )

    def prefer(self, **features: str) -> None:
        """What the visitor's system says, such as ``prefers_color_scheme="dark"``."""
        shown = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": shown})

    # -- what is seen

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console has shown since the last time it was asked."""
        return [
            f"{each['level']}: {each['message']}"
            for each in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if each["level"] in ("SEVERE", "WARNING")
        ]

    def barriers(self) -> list[str]:
        """What axe-core finds that hinders people, however little; with where it is."""
        if not self.run("return Boolean(window.axe)"):
            self.run(_axe())
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {resultTypes: ['violations']})"
            ".then((result) => done(JSON.stringify(result.violations)),"
            " (error) => done(JSON.stringify([{impact: 'critical', id: String(error),"
            " help: '', nodes: []}])));"
        )
        return [
            f"{each['id']} ({each['impact']}): {each['help']}: "
            + "; ".join(str(node["html"])[:200] for node in each["nodes"][:5])
            for each in json.loads(found)
        ]

    def picture(self, path: pathlib.Path) -> None:
        """Save what is in sight as PNG."""
        self.driver.save_screenshot(str(path))


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _axe() -> str:
    """axe-core (MPL-2.0), which another package brings along."""
    package = distribution("axe-playwright-python")
    return pathlib.Path(str(package.locate_file("axe_playwright_python/axe.min.js"))).read_text()


@contextlib.contextmanager
def opened() -> Iterator[Browser]:
    """A browser for a while."""
    browser = Browser()
    try:
        yield browser
    finally:
        browser.quit()
