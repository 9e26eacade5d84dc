# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium for tests; a test that asks for it skips where there is none."""

import shutil

import pytest


@pytest.fixture
def browser():
    """A selenium driver that keeps the console's messages."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    one = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield one
    one.quit()


def console_errors(driver):
    """Severe lines of the console."""
    return [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
