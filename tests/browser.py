# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium for tests; a test that asks for it skips where there is none."""

import contextlib
import shutil

import pytest

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--no-first-run")


@contextlib.contextmanager
def opened(folder=None, *flags, phone=None):
    """A selenium driver that keeps the console's messages.

    Args:
        folder: where downloads go.
        flags: further ones of Chromium.
        phone: (width, height) of an emulated touch screen.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    if folder:
        options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    if phone:
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": {
            "width": phone[0], "height": phone[1], "pixelRatio": 1.0, "touch": True}})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    one = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield one
    finally:
        one.quit()


@pytest.fixture
def browser():
    """`opened` for one test."""
    with opened() as one:
        yield one


def console_errors(driver):
    """Severe lines of the console."""
    return [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
