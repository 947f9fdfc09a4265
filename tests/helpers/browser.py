"""A page in Chromium without a window, through selenium, which tests import only if it is installed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any


class Page:
    """A page in Chromium."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        self.driver.get(address)
        self.wait("#sample")

    def until(self, condition: Callable[[], Any]) -> Any:
        until = time.monotonic() + 90
        while not (found := condition()):
            assert time.monotonic() < until, "the page does not show what was expected"
            time.sleep(0.1)
        return found

    def wait(self, selector: str, *, visible: bool = True) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException

        def found() -> Any:
            try:
                return next(
                    (e for e in self.driver.find_elements("css selector", selector) if e.is_displayed() or not visible),
                    None,
                )
            except StaleElementReferenceException:
                return None

        return self.until(found)

    def changed(self, selector: str, before: str) -> str | None:
        """The address of a picture if it is not `before`."""
        address = str(self.wait(selector).get_attribute("src"))
        return address if address != before else None

    def text(self, selector: str) -> str:
        return str(self.until(lambda: self.wait(selector).text))

    def click(self, selector: str) -> None:
        self.wait(selector).click()

    def click_at(self, selector: str, right: int, down: int) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element_with_offset(self.wait(selector), right, down).click().perform()

    def tab(self, name: str) -> None:
        self.until(
            lambda: [e for e in self.driver.find_elements("css selector", "button[role=tab]") if e.text == name]
        )[0].click()

    def requested(self) -> list[str]:
        """The addresses that the page has requested."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


class Browser:
    """Opens and closes Chromium without a window."""

    def __enter__(self) -> Page:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1500"):
            options.add_argument(each)
        options.binary_location = shutil.which("chromium") or ""
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        return Page(self.driver)

    def __exit__(self, *_: object) -> None:
        self.driver.quit()
