# SPDX-License-Identifier: Apache-2.0
"""The animated picture of the README: the page of `sst web`, used in headless Chromium.

    sst web --preset sst_resnet18 --output site
    python docs/images/record_page.py site --support MARKED.jpg --box 0.22 0.04 0.74 0.92 \\
        --name person --queries OTHER.jpg ... --output docs/images/page.webp

A box is drawn around the object of the photo to mark, the page finds the outline in it, the class
is taught, and the other photos are searched. What the page shows is what the browser computed.
"""

import argparse
import io
import shutil
import time
from pathlib import Path

from PIL import Image, ImageDraw
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains

from export.page_server import serving
from pipelines.writing import write_bytes

SIZE = (1100, 980)  # of the window, in pixels
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}")
SMOOTH = 12  # frames of a movement of the pointer


class Recorder:
    """The page, the pointer that a viewer sees, and the frames so far."""

    def __init__(self, driver):
        self.driver, self.pointer = driver, (SIZE[0] / 2, 300.0)
        self.frames, self.times = [], []

    def __getitem__(self, name):
        return self.driver.find_element("id", name)

    def shoot(self, milliseconds):
        """Keep what is seen now, for so long."""
        frame = Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        x, y = self.pointer
        arrow = [(x + dx, y + dy) for dx, dy in ((0, 0), (0, 24), (6, 18), (16, 17))]
        ImageDraw.Draw(frame).polygon(arrow, fill="black", outline="white", width=2)
        self.frames.append(frame)
        self.times.append(milliseconds)

    def move(self, x, y):
        """The pointer goes to a point of the window."""
        start = self.pointer
        for step in range(1, SMOOTH + 1):
            share = step / SMOOTH
            self.pointer = tuple(a + share * (b - a) for a, b in zip(start, (x, y), strict=True))
            self.shoot(40)

    def frame(self, element):
        """x, y, width and height of an element in the window."""
        return self.driver.execute_script(
            "const r = arguments[0].getBoundingClientRect(); return [r.x, r.y, r.width, r.height]",
            element)

    def press(self, element):
        """Go to an element's middle and click."""
        x, y, width, height = self.frame(element)
        self.move(x + width / 2, y + height / 2)
        self.shoot(250)
        element.click()

    def wait(self, condition, seconds=120):
        """Until a condition holds; a viewer does not wait."""
        end = time.time() + seconds
        while not condition():
            if time.time() > end:
                raise SystemExit(f"the page did not get there: {self['said'].text}")
            time.sleep(0.05)

    def box(self, left, top, right, bottom):
        """Draw a box over the photo to mark; its corners in shares of it."""
        x, y, width, height = self.frame(self["canvas"])
        self.move(x + left * width, y + top * height)
        self._act("pointer_down")
        start = self.pointer
        for step in range(1, SMOOTH + 1):
            share = step / SMOOTH
            self.pointer = (start[0] + share * (right - left) * width,
                            start[1] + share * (bottom - top) * height)
            self._act()
            self.shoot(40)
        self._act("pointer_up")
        self.shoot(600)

    def _act(self, *what):
        """The browser's pointer goes where the viewer's is, and does something there."""
        action = ActionChains(self.driver, duration=0)
        pointer = action.w3c_actions.pointer_action
        pointer.move_to_location(*map(round, self.pointer))
        for name in what:
            getattr(pointer, name)()
        action.perform()


def record(driver, address, options):
    """Frames and their times in milliseconds."""
    page = Recorder(driver)
    driver.get(f"{address}/index.html")
    page.wait(lambda: page["model"].text.startswith("Ready"))
    page["support"].send_keys(str(options.support.resolve()))
    page.wait(lambda: page["canvas"].is_displayed())
    page["queries"].send_keys("\n".join(str(path.resolve()) for path in options.queries))
    page.wait(lambda: len(driver.find_elements("css selector", "#photos > li"))
              == len(options.queries))
    driver.execute_script("document.getElementById('said').textContent = ''")
    page.shoot(1200)
    page.press(driver.find_element("css selector", "label[for=tool-box]"))
    page.shoot(200)
    page.box(*options.box)
    page.press(page["outline"])
    page.wait(lambda: driver.execute_async_script("""
        const done = arguments[0];
        import('./page.js').then(({ state }) => done(state.support.marks.at(-1).tool === 'mask'));
    """))
    page.shoot(1500)
    page["name"].clear()
    page["name"].send_keys(options.name)
    page.press(page["teach"])
    total = len(options.queries)
    page.wait(lambda: page["count"].text == f"{total} of {total}")
    page.shoot(1500)
    for photo in driver.find_elements("css selector", "#photos > li button")[:total]:
        page.press(photo)
        time.sleep(1)
        page.shoot(1800)
    return page.frames, page.times


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="folder that sst web wrote")
    parser.add_argument("--support", type=Path, required=True, help="photo to mark")
    parser.add_argument("--box", type=float, nargs=4, required=True,
                        metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"), help="shares of the photo")
    parser.add_argument("--name", required=True, help="of the class")
    parser.add_argument("--queries", type=Path, nargs="+", required=True, help="photos to search")
    parser.add_argument("--output", type=Path, required=True, help="animated WebP")
    parser.add_argument("--width", type=int, default=880, help="of the picture, in pixels")
    options = parser.parse_args()
    browser = webdriver.ChromeOptions()
    browser.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        browser.add_argument(flag)
    driver = webdriver.Chrome(browser, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        with serving(options.site) as address:
            frames, times = record(driver, address, options)
    finally:
        driver.quit()
    height = round(options.width * frames[0].height / frames[0].width)
    small = [frame.resize((options.width, height), Image.Resampling.LANCZOS) for frame in frames]
    file = io.BytesIO()
    small[0].save(file, "webp", save_all=True, append_images=small[1:], duration=times, loop=0,
                  quality=60, method=4)
    write_bytes(options.output, file.getvalue())
    print(f"{options.output}: {len(frames)} frames, {sum(times) / 1000:.0f} s, "
          f"{len(file.getvalue()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
