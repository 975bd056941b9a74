"""MinIO's console in a real headless browser: logging in, browsing to a checkpoint, pictures of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compose.get import DRIVER, browser_program
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

WAIT_SECONDS = 60


class Console:
    """One visit."""

    def __init__(self, driver: WebDriver, url: str) -> None:
        self._driver = driver
        self._url = url

    def log_in(self, user: str, password: str) -> None:
        self._driver.get(self._url)
        self._find(By.ID, "accessKey").send_keys(user)
        self._find(By.ID, "secretKey").send_keys(password)
        self._find(By.ID, "do-login").click()
        self._until(lambda: "/browser" in self._driver.current_url)
        self._until(lambda: "Acknowledge" in self._text())
        self._agree()

    def open_row(self, text: str) -> None:
        """Click the bucket, folder or object of this name."""
        found = self._find(By.XPATH, f"//*[normalize-space(text())='{text}']")
        self._driver.execute_script("arguments[0].click()", found)

    def wait_for(self, text: str) -> None:
        self._until(lambda: text in self._text())

    def picture(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert self._driver.save_screenshot(str(path))

    def _text(self) -> str:
        return str(self._driver.execute_script("return document.body.innerText"))

    def _agree(self) -> None:
        """The licence that the console shows at the first visit."""
        agree = "//button[contains(., 'Acknowledge')]"
        for button in self._driver.find_elements(By.XPATH, agree):
            self._driver.execute_script("arguments[0].click()", button)  # it lies below the fold
            self._until(lambda: not self._driver.find_elements(By.XPATH, agree))

    def _find(self, how: str, what: str):  # type: ignore[no-untyped-def]
        self._until(lambda: bool(self._driver.find_elements(how, what)))
        return self._driver.find_elements(how, what)[0]

    def _until(self, condition) -> None:  # type: ignore[no-untyped-def]
        WebDriverWait(self._driver, WAIT_SECONDS).until(lambda _: condition())


@contextmanager
def console(url: str) -> Iterator[Console]:
    """A browser of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(browser_program())
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1300"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which(DRIVER)))
    try:
        yield Console(driver, url)
    finally:
        driver.quit()
