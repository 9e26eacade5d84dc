# SPDX-License-Identifier: Apache-2.0
"""The page: a browser paints, adds shots and reads the answer; uploads, addresses are bounded."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import DataError, UserError
from pipelines.writing import write_json
from sst_tf import demo
from sst_tf.config import DataConfig
from sst_tf.photos import paint_page
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Predictor
from tests.browser import browser, console_errors  # noqa: F401  a fixture
from tests.export.conftest import make_run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=65, count=60))
    write_json(run.presence_path, {"1": {"threshold": 0.0}, "2": {"threshold": 0.0}})
    return run


@pytest.fixture(scope="module")
def desk(run):
    return paint_page.Desk(Predictor.from_run(run.folder))


@pytest.fixture(scope="module")
def photo():
    """A noisy photo with a red square, and the square."""
    image = np.random.default_rng(0).integers(90, 120, (80, 120, 3)).astype(np.uint8)
    image[20:60, 30:70] = (200, 30, 30)
    mask = np.zeros((80, 120), bool)
    mask[20:60, 30:70] = True
    return image, mask


# ---- the buttons ---------------------------------------------------------------------------------


def test_shots_answer_as_the_predictor_does(desk, run, photo):
    image, mask = photo
    shots = [desk.mark(image, mask, "mask")[0], desk.mark(image[:, ::-1], mask, "mask")[0]]
    tuned, untuned, words = desk.answer(shots, image, always=True)
    assert max(tuned.shape) == max(untuned.shape) == paint_page.SHOWN_SIDE
    assert words.startswith("2 shot(s)")
    other = Predictor.from_run(run.folder, empty=False)
    card = other.set_support([image, image[:, ::-1]], [mask, mask])
    joined = ClassCard.joined([shot.card for shot in shots])
    np.testing.assert_allclose(card.prototype, joined.prototype, atol=1e-6)
    np.testing.assert_array_equal(desk.predictor.predict(image).mask,
                                  other.predict(image).mask)


def test_strokes_become_masks(desk, photo):
    image, mask = photo
    box, strokes = np.zeros_like(mask), np.zeros_like(mask)
    box[16, 26] = box[63, 73] = True  # two dabs at the corners
    strokes[30:50, 48:52] = True
    green = [desk.mark(image, painted, kind)[0].marked[..., 1].astype(int)
             for painted, kind in ((mask, "mask"), (box, "box"), (strokes, "scribbles"))]
    for other in green[1:]:  # GrabCut finds the square
        assert np.mean(np.abs(other - green[0]) > 20) < 0.03


def test_nothing_painted_is_said(desk, photo):
    with pytest.raises(DataError, match="nothing is painted"):
        desk.mark(photo[0], np.zeros((80, 120), bool), "box")


def test_the_gradient_is_shown_at_the_photo_s_shape(desk, photo):
    shot, seconds = desk.mark(*photo, "mask")
    assert shot.gradient.shape == shot.marked.shape == (320, 480, 3)
    assert shot.gradient.std() > 5 and seconds > 0


def test_cards_of_other_models_do_not_join(desk, photo):
    import dataclasses
    card = desk.mark(*photo, "mask")[0].card
    with pytest.raises(DataError, match="different models"):
        ClassCard.joined([card, dataclasses.replace(card, model_sha256="0")])


def test_photos_to_pick_from(run, tmp_path):
    paths = paint_page.samples(run.config(), tmp_path)
    assert 5 <= len(paths) <= paint_page.SAMPLES and all(Path(p).parent == tmp_path for p in paths)
    assert paint_page.samples(run.config(), None, tmp_path) == paths
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no photo in it"):
        paint_page.samples(run.config(), None, tmp_path / "empty")


# ---- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(run, tmp_path_factory):
    """(address, folder it may write to, where it must not, the process)."""
    pytest.importorskip("gradio", reason="no gradio (extra demo)")
    base = tmp_path_factory.mktemp("server")
    folders = {name: base / name for name in ("home", "work", "tmp")}
    for folder in folders.values():
        folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = open(base / "log", "w")
    process = subprocess.Popen(
        [sys.executable, "-m", "sst_tf.demo", "--run_dir", str(run.folder), "--port", str(port),
         "--max_megabytes", "1"], cwd=folders["work"], stdout=log, stderr=log,
        env={**os.environ, "HOME": str(folders["home"]), "TMPDIR": str(folders["tmp"]),
             "KERAS_HOME": str(folders["tmp"]), "MPLCONFIGDIR": str(folders["tmp"]),
             "PYTHONPATH": str(ROOT)})  # caches of libraries are not the page's
    deadline = time.time() + 180
    while "listening" not in (base / "log").read_text():
        assert process.poll() is None and time.time() < deadline, (base / "log").read_text()
        time.sleep(0.3)
    yield f"http://127.0.0.1:{port}", folders, process
    process.kill()


def _wait(browser, condition, what, seconds=60):  # noqa: F811
    from selenium.webdriver.support.ui import WebDriverWait
    return WebDriverWait(browser, seconds).until(condition, what)


def _paint_and_add(browser, number):  # noqa: F811
    """Strokes of the brush; once more where the photo was laid out late and wiped them."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.common.action_chains import ActionChains
    for _ in range(5):
        time.sleep(2)
        canvas = _wait(browser, lambda b: b.find_element("css selector", "#support canvas"),
                       "canvas")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        ActionChains(browser).move_to_element_with_offset(canvas, -30, -10).click_and_hold(
            ).move_by_offset(30, 10).move_by_offset(30, 10).release().perform()
        time.sleep(0.5)
        try:
            return _press(browser, "add", f"Shot {number} tuned", 8)
        except TimeoutException:
            continue
    raise AssertionError(f"shot {number} was not tuned")


def _pick(browser, where, number):  # noqa: F811
    _wait(browser, lambda b: len(b.find_elements("css selector", f"#{where} button")) > number,
          where)
    browser.find_elements("css selector", f"#{where} button")[number].click()


def _press(browser, button, words, seconds=60):  # noqa: F811
    element = browser.find_element("css selector", f"#{button}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()
    return _wait(browser, lambda b: words in (text := b.find_element(
        "css selector", "#said textarea").get_attribute("value")) and text, words, seconds)


def test_paint_segment_add_a_shot_read(server, browser, tmp_path):  # noqa: F811
    address, folders, _ = server
    browser.set_window_size(1280, 1500)
    browser.get(address)
    _pick(browser, "examples_support", 0)
    _pick(browser, "examples_query", 1)
    assert "own IoU" in _paint_and_add(browser, 1)
    first = _press(browser, "segment", "1 shot(s)")
    assert re.search(r"Answered in \d+ ms", first)
    for name in ("tuned", "untuned"):
        shown = _wait(browser, lambda b, name=name: b.find_element(
            "css selector", f"#{name} img"), name)
        assert _wait(browser, lambda b, shown=shown: b.execute_script(
            "return arguments[0].naturalWidth", shown), name) == paint_page.SHOWN_SIDE
    _pick(browser, "examples_support", 2)
    _paint_and_add(browser, 2)
    assert _press(browser, "segment", "2 shot(s)").startswith("2 shot(s)")
    _wait(browser, lambda b: len(b.find_elements("css selector", "#shots img")) >= 4, "4 pictures")
    browser.save_screenshot(str(tmp_path / "page.png"))
    assert not console_errors(browser)
    foreign = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith((address, "data:", "blob:")) for name in foreign)
    for name in ("home", "work"):  # nothing is written but in the temporary folder
        assert not [p for p in folders[name].rglob("*") if p.is_file()]


def test_what_is_missing_is_said(server, browser):  # noqa: F811
    browser.get(server[0])
    element = _wait(browser, lambda b: b.find_element("css selector", "#segment"), "page")
    element.click()
    _wait(browser, lambda b: "add a marked photo first" in b.find_element(
        "css selector", "body").text, "message")


def test_uploads_are_bounded(server):
    requests = pytest.importorskip("requests")
    big = requests.post(f"{server[0]}/gradio_api/upload", timeout=30,
                        files={"files": ("big.png", b"0" * (2 * 2**20))})
    assert big.status_code == 413
    small = requests.post(f"{server[0]}/gradio_api/upload", timeout=30,
                          files={"files": ("small.png", b"0" * 1000)})
    assert small.status_code == 200
    assert Path(small.json()[0]).is_relative_to(server[1]["tmp"])


def test_a_file_that_is_no_photo_is_refused(server, browser, tmp_path):  # noqa: F811
    (tmp_path / "fake.png").write_text("no photo")
    browser.get(server[0])
    _wait(browser, lambda b: b.find_elements("css selector", "#query input[type=file]"), "input")
    _pick(browser, "examples_support", 0)
    _paint_and_add(browser, 1)
    browser.find_element("css selector", "#query input[type=file]").send_keys(
        str(tmp_path / "fake.png"))
    time.sleep(1)
    browser.find_element("css selector", "#segment").click()
    _wait(browser, lambda b: "Error" in b.find_element("css selector", "body").text, "message")


def test_it_listens_on_this_machine_alone_and_cleans_up(server):
    address, folders, process = server
    port = int(address.rpartition(":")[2])
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError), socket.create_connection((own, port), 2):
            pass
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert not list(folders["tmp"].glob("sst-demo-*"))


def test_help_and_a_missing_run(tmp_path, capsys):
    with pytest.raises(SystemExit):
        demo.main(["--run_dir", str(tmp_path)])
    assert "no finished run" in capsys.readouterr().err
