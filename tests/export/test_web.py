# SPDX-License-Identifier: Apache-2.0
"""The page without a server: its graphs against `Predictor`, then the page itself in Chromium."""

import io
import json
import shutil
import socket
import time
import urllib.request
import zipfile

import cv2
import numpy as np
import pytest
import tensorflow as tf

from export import int8, page_files, page_libraries, page_server, web
from export.page_files import FACTS, PAGE, STATIC, TOLERANCE, page_model, write
from export.page_graphs import PageGraphs
from export.trained import Trained
from pipelines import open_source
from pipelines.errors import UserError
from pipelines.reading.photos import load_photo
from pipelines.reading.transforms import framed_size
from pipelines.writing import write_json
from sst_tf.config import DataConfig
from sst_tf.evaluation import presence
from sst_tf.photos.class_card import ClassCard
from sst_tf.photos.predictor import Predictor
from sst_tf.predictor import presets
from tests.browser import console_errors, opened
from tests.export.conftest import make_run
from tests.sst_tf.test_commands import fails

pytest.importorskip("onnxruntime")
AGREE = 0.99  # least share of a mask's pixels that is Python's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run."""
    run = make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=65, count=60))
    write_json(run.presence_path, {})
    return run.folder


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor.from_run(folder)


@pytest.fixture(scope="module")
def libraries():
    """`node_modules` of the page and of its tests."""
    if not shutil.which("npm") and not (page_libraries.cache() / "tests").is_dir():
        pytest.skip("no npm (Node.js)")
    try:
        return page_libraries.fetch(tests=True)
    except UserError as error:
        pytest.skip(f"the page's libraries cannot be fetched: {error}")


@pytest.fixture(scope="module")
def site(predictor, libraries, tmp_path_factory):
    folder, worst = write(predictor, tmp_path_factory.mktemp("web") / "site", "toy", libraries)
    assert worst < TOLERANCE
    return folder


def blocks(height, width, seed):
    """A photo of smooth random blocks."""
    random = np.random.default_rng(seed)
    return cv2.resize(random.integers(0, 256, (9, 12, 3)).astype(np.uint8), (width, height))


# ---- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width, marked", [
    (150, 233, (slice(30, 90), slice(50, 120))), (40, 300, (slice(5, 30), slice(100, 200))),
    (65, 65, (slice(10, 40), slice(20, 60))), (700, 500, (slice(333, 334), slice(221, 222)))])
def test_photos_of_any_size_are_answered_as_by_the_predictor(site, predictor, height, width,
                                                             marked):
    """The last mark is one pixel: nearest sampling would lose it."""
    model, photo, query = page_model(site), blocks(height, width, 0), blocks(width, height, 1)
    mask = np.zeros((height, width), np.uint8)
    mask[marked] = 1
    card = predictor.set_support([photo, photo[::-1]], [mask, mask[::-1]], "thing")
    shots = []
    for one, mark in ((photo, mask), (photo[::-1], mask[::-1])):
        features = model.run("embed", {"photo": np.ascontiguousarray(one)})["features"]
        shots.append(model.run("tune", {"features": features,
                                        "mask": np.ascontiguousarray(mark)}))
    for field in ("prototype", "untuned", "score", "score_after", "cells"):
        got = np.stack([one[field] for one in shots]).reshape(getattr(card, field).shape)
        np.testing.assert_allclose(got, getattr(card, field), atol=0.02)
    step = predictor.step_map(photo, mask)
    assert shots[0]["step"].shape == step.shape == shots[0]["own"].shape
    np.testing.assert_allclose(shots[0]["step"], step, atol=0.05 * step.max())
    features = model.run("embed", {"photo": query})["features"]
    answer = model.run("segment_many", {
        "features": features, "prototype": np.stack([card.prototype, card.untuned]),
        "score": np.stack([card.score, card.score]), "size": np.array(query.shape[:2], np.int32)})
    for i, tuned in enumerate((True, False)):
        expected = predictor.predict_all([query], ["thing"], tuned)[0].predictions["thing"]
        assert np.ptp(expected.probability) > 0.05
        np.testing.assert_allclose(answer["probability"][i], expected.probability, atol=TOLERANCE)
        assert abs(float(answer["presence"][i]) - expected.score) < TOLERANCE


def test_the_folder_is_complete_and_says_what_it_is(site, predictor):
    facts = json.loads((site / FACTS).read_text())
    assert facts["model_sha256"] == predictor.model_sha256 and len(facts["points"]) == 10
    assert [one["threshold"] for one in facts["points"][:3]] == [0.4, 0.6, 0.6]
    for path in facts["examples"]["photos"]:
        assert cv2.imread(str(site / path)).shape == (257, 257, 3)
    for name in [*STATIC, *(f"lib/{one}" for one in page_libraries.COPIED.values())]:
        assert (site / name).stat().st_size > 500


@pytest.fixture
def converted(site, monkeypatch):
    """Files and pictures that were made before, in the place of new ones."""
    monkeypatch.setattr(page_files, "_convert", lambda _, folder: [
        shutil.copy(path, folder) for path in site.glob("*.onnx")])
    facts = json.loads((site / FACTS).read_text())["examples"]
    photos = [cv2.imread(str(site / path)) for path in facts["photos"]]
    masks = [cv2.imread(str(site / facts["mark"]), 0) // 255] * len(photos)
    monkeypatch.setattr(page_files, "_draw", lambda _: (facts["name"], photos, masks))


def test_a_page_is_replaced_and_nothing_else_is(site, converted, predictor, libraries, tmp_path,
                                                monkeypatch):
    monkeypatch.setattr(page_files, "_compare", lambda *_: 0.0)
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site" / "page.js").write_text("old")
    write(predictor, tmp_path / "site", "toy", libraries)
    assert (tmp_path / "site" / "page.js").read_bytes() == (PAGE / "page.js").read_bytes()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("photo")
    with pytest.raises(UserError, match="holds mine.jpg, which is no part of a page"):
        write(predictor, tmp_path / "photos", "toy", libraries)
    # Other tools' files are called like ours, and a page may lie in a checkout.
    for name, other in (("model.json", "photos"), (".git", "site")):
        (tmp_path / other / name).write_text("{}")
        with pytest.raises(UserError, match="would be lost"):
            write(predictor, tmp_path / other, "toy", libraries)
        assert (tmp_path / other / name).read_text() == "{}"
    monkeypatch.chdir(tmp_path / "site")
    with pytest.raises(UserError, match="cannot be replaced"):
        write(predictor, ".", "toy", libraries)
    assert {p.name for p in tmp_path.iterdir()} == {"site", "photos"}


def test_a_link_stays_one_and_the_page_goes_where_it_leads(site, converted, predictor, libraries,
                                                           tmp_path, monkeypatch):
    monkeypatch.setattr(page_files, "_compare", lambda *_: 0.0)
    real, link = tmp_path / "disk" / "site", tmp_path / "link"
    link.symlink_to(real)
    for content in (None, "old"):  # the link dangles at first
        if content:
            (real / "page.js").write_text(content)
        assert write(predictor, link, "toy", libraries)[0] == real
        assert link.is_symlink() and not real.is_symlink()
        assert (real / "page.js").read_bytes() == (PAGE / "page.js").read_bytes()
    assert [path.name for path in real.parent.iterdir()] == ["site"]
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UserError, match="circle: a link that leads in a circle"):
        write(predictor, tmp_path / "circle", "toy", libraries)


def test_a_mount_point_is_refused_before_any_work(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(page_files.os.path, "ismount", lambda path: path == tmp_path)
    with pytest.raises(UserError, match="is mounted there.* a folder inside it, as .*/page"):
        write(predictor, tmp_path, "toy", tmp_path)


def test_the_page_of_before_comes_back_where_the_new_one_cannot_take_its_place(
        site, converted, predictor, libraries, tmp_path, monkeypatch):
    monkeypatch.setattr(page_files, "_compare", lambda *_: 0.0)
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site" / "page.js").write_text("old")
    rename = page_files.os.rename

    def fail(source, target):
        if source.name == "page":
            raise PermissionError(13, "Permission denied", str(target))
        rename(source, target)
    monkeypatch.setattr(page_files.os, "rename", fail)
    with pytest.raises(PermissionError):
        write(predictor, tmp_path / "site", "toy", libraries)
    assert (tmp_path / "site" / "page.js").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("encoder, end", [
    ("float32", "1.0e-06\n"), ("int8", "1.0e-06, before its encoder had 8 bits\n")])
def test_the_difference_that_is_told_is_that_of_float32(folder, tmp_path, monkeypatch, capsys,
                                                        encoder, end):
    monkeypatch.setattr(page_files, "write", lambda *_: (tmp_path, 1e-6))
    monkeypatch.setattr(int8, "Trials", lambda *_: "trials")
    web.main(["--run_dir", str(folder), "--output", str(tmp_path), "--libraries", "x",
              "--encoder", encoder])
    assert capsys.readouterr().out.endswith(f"largest difference from Python {end}")


def test_files_that_answer_otherwise_are_not_left(predictor, converted, libraries, tmp_path,
                                                  monkeypatch):
    monkeypatch.setattr(page_files, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="differ from the Keras model"):
        write(predictor, tmp_path / "site", "toy", libraries)
    assert not list(tmp_path.iterdir())


def test_without_npm_one_line_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["--run_dir", "runs/none", "--output", str(tmp_path / "site")]
    assert "npm is missing" in fails(capsys, words, web.main)
    monkeypatch.setattr(page_libraries, "HERE", tmp_path)  # no such folder: the copy is tried
    with pytest.raises(UserError, match="no node_modules folder"):
        page_libraries.copy(tmp_path, tmp_path / "lib")


@pytest.mark.parametrize("given, words", [
    (["--trials", "5"], "--trials: goes with --encoder int8"),
    (["--port", "8123"], "--port: goes with --open")])
def test_options_that_would_do_nothing_are_refused(tmp_path, capsys, given, words):
    line = fails(capsys, ["--run_dir", "run", "--output", str(tmp_path), "--libraries", "x",
                          *given], web.main)
    assert words in line


@pytest.mark.parametrize("said, told", [
    (r"npm warn old\nnpm error network\nnpm error log at x\n", "npm error network"),
    (r"npm WARN old\nnpm ERR! network\n", "npm ERR! network"),
    (r"a trace\nout of memory\n", "out of memory"), ("", "no message")])
def test_a_failing_npm_is_told_in_one_line(tmp_path, monkeypatch, said, told):
    (tmp_path / "npm").write_text(f"#!/bin/sh\nprintf '{said}' >&2\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UserError, match=f"npm ci failed: {told}; install"):
        page_libraries.fetch(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_libraries_of_a_fetch_that_was_killed_are_fetched_again(tmp_path, monkeypatch):
    """An earlier version left an empty folder where it was killed between two steps."""
    (tmp_path / "page").mkdir()
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nmkdir node_modules\n")
    npm.chmod(0o755)
    monkeypatch.setattr(page_libraries.shutil, "which", lambda name: str(npm))
    assert page_libraries.fetch(tmp_path).is_dir()
    assert not list(tmp_path.glob(".partial-*"))


def test_the_lock_file_names_no_machine():
    lock = json.loads((PAGE / "package-lock.json").read_text())["packages"]
    fetched = {name: one for name, one in lock.items() if name}
    assert all(one["integrity"].startswith("sha512-") for one in fetched.values())
    assert all(one.get("resolved", "https://registry.npmjs.org/").startswith(
        "https://registry.npmjs.org/") for one in fetched.values())


# ---- the page in a browser -----------------------------------------------------------------------


class Page:
    """The page as a person uses it."""

    def __init__(self, driver, address, downloads, query=""):
        self.driver, self.downloads = driver, downloads
        driver.get(f"{address}/index.html{query}")
        self.wait(lambda: self["model"].text.startswith(("Ready", "The model cannot")))
        assert self["model"].text.startswith("Ready"), self["model"].text

    def __getitem__(self, name):
        return self.driver.find_element("id", name)

    def wait(self, condition, seconds=60):
        deadline = time.time() + seconds
        while not condition():
            assert time.time() < deadline, (self["said"].text, console_errors(self.driver))
            time.sleep(0.05)

    def press(self, name):
        one = self[name]
        if one.get_attribute("type") in ("radio", "file"):
            one = self.driver.find_element("css selector", f"label[for={name}]")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", one)
        one.click()

    def give(self, name, *paths):
        self[name].send_keys("\n".join(map(str, paths)))

    def teach(self, name):
        self["name"].clear()
        self["name"].send_keys(name)
        self.press("teach")
        self.wait(lambda: f"Taught “{name}”" in self["said"].text)

    def open(self, photo, mask=None):
        self.give("support", photo)
        self.wait(lambda: photo.name in self["canvas"].get_attribute("aria-label"))
        if mask:
            self.give("mask", mask)
            self.wait(self["teach"].is_enabled)

    def answered(self, count):
        self.wait(lambda: self["count"].text == f"{count} of {count}")

    def download(self, button, name):
        (self.downloads / name).unlink(missing_ok=True)
        button.click()
        # The browser holds the name by an empty file until the whole one takes its place.
        self.wait(lambda: (self.downloads / name).is_file()
                  and (self.downloads / name).stat().st_size > 0)
        return (self.downloads / name).read_bytes()

    def masks(self):
        """{name: array} of the zip's index pictures, and its COCO file."""
        with zipfile.ZipFile(io.BytesIO(self.download(self["save"], "masks.zip"))) as files:
            assert files.testzip() is None
            index = {one.removesuffix(".index.png"): cv2.imdecode(np.frombuffer(
                files.read(one), np.uint8), cv2.IMREAD_UNCHANGED)
                for one in files.namelist() if one.endswith(".index.png")}
            assert {f"{one}.overlay.jpg" for one in index} < set(files.namelist())
            return index, json.loads(files.read("predictions.json"))

    def card(self, number=0):
        button = self.driver.find_elements("css selector", "#classes > li > button")[number]
        name = self.driver.find_elements("css selector", "#classes strong")[number].text
        self.download(button, f"{name}.npz")
        return self.downloads / f"{name}.npz"


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driver(downloads):
    with opened(downloads, f"--log-net-log={downloads / 'net.json'}") as one:
        yield one


@pytest.fixture(scope="module")
def address(site):
    with page_server.serving(site) as address:
        yield address


@pytest.fixture
def page(driver, address, downloads):
    return Page(driver, address, downloads)


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    """Three real photos of cats with masks, one of 0 and 255, two of 0, 1 and 255 (void): paths."""
    source = open_source("voc", root=shared / "data" / "mini80")
    cat, folder, paths = source.classes.index("cat") + 1, tmp_path_factory.mktemp("photos"), []
    areas = {n: (source.class_mask(n, cat) == 1).mean() for n in source.image_ids("all")
             if cat in source.class_masks(n)}
    for name in sorted(areas, key=areas.get)[-3:]:
        shutil.copy(shared / "data" / "mini80" / "JPEGImages" / f"{name}.jpg", folder)
        mask = source.class_mask(name, cat)
        mask[:20, :30] = 255  # what does not count
        cv2.imwrite(str(folder / f"{name}.png"), mask if paths else (mask == 1) * np.uint8(255))
        paths.append((folder / f"{name}.jpg", folder / f"{name}.png"))
    return paths


def agreement(mask, expected):
    assert mask.shape == expected.shape
    return (mask == expected).mean()


def test_a_class_of_real_photos_agrees_with_the_predictor(page, predictor, photos):
    """Taught by one photo, by two; a second class; class cards both ways; the zip."""
    (first, mask1), (second, mask2), (query, _) = photos
    page.open(first, mask1)
    page.give("queries", query, first)
    page.teach("cat")
    page.answered(2)
    predictor.cards.clear()
    predictor.set_support(first, mask1, "cat")
    expected = predictor.predict_all([query, first])
    index, coco = page.masks()
    for photo, scene in zip((query, first), expected, strict=True):
        assert 0.01 < scene.index.mean() < 0.99
        assert agreement(index[photo.name], scene.index) > AGREE
    shown = [one["area"] for one in coco["annotations"]]
    assert shown == [(index[one.name] == 1).sum() for one in (query, first)]
    for one in coco["annotations"]:  # run lengths are those of the picture
        counts = one["segmentation"]["counts"]
        name = coco["images"][one["image_id"] - 1]["file_name"]
        flat = np.repeat(np.arange(len(counts)) % 2, counts)
        np.testing.assert_array_equal(flat.reshape(one["segmentation"]["size"], order="F"),
                                      index[name])
    assert abs(coco["annotations"][0]["score"]
               - expected[0].predictions["cat"].score) < TOLERANCE

    page.open(second, mask2)
    page.teach("cat")
    page.answered(2)
    predictor.set_support([first, second], [mask1, mask2], "cat")
    assert agreement(page.masks()[0][query.name], predictor.predict(query).mask) > AGREE
    card = ClassCard.load(page.card(), predictor.model_sha256)  # written by the page
    assert card.name == "cat" and card.shots == 2 and card.how == ("mask", "mask")
    assert cv2.imdecode(np.frombuffer(card.thumbnail, np.uint8), 1).shape[1] == 128
    for field in ("prototype", "untuned", "score", "score_after", "cells"):
        np.testing.assert_allclose(getattr(card, field), getattr(predictor.cards["cat"], field),
                                   atol=0.02)

    page.open(query)
    page.press("tool-box")
    drag(page, (0.2, 0.2), (0.5, 0.6))
    page.teach("corner")
    page.answered(2)
    other = page.card(1)
    predictor.add_card(card)
    predictor.add_card(other)
    index, coco = page.masks()
    assert agreement(index[query.name], predictor.predict_all([query])[0].index) > AGREE
    assert [one["name"] for one in coco["categories"]] == ["cat", "corner"]


def drag(page, start, end):
    """A stroke over the photo to mark, its ends in shares of it."""
    from selenium.webdriver.common.action_chains import ActionChains
    canvas = page["canvas"]
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    at = [(round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"]))
          for x, y in (start, end)]
    ActionChains(page.driver).move_to_element_with_offset(canvas, *at[0]).click_and_hold(
        ).move_to_element_with_offset(canvas, *at[1]).release().perform()


@pytest.mark.slow
@pytest.mark.parametrize("name", presets())
def test_a_shipped_preset_answers_as_in_python(name, libraries, photos, shared, driver, downloads,
                                               tmp_path, monkeypatch):
    monkeypatch.setenv("SST_WEIGHTS", str(shared / "weights"))
    predictor = Predictor.from_preset(name)
    site, _ = write(predictor, tmp_path / "site", name, libraries)
    with page_server.serving(site) as address:
        page = Page(driver, address, downloads)
        (first, mask), (second, _), (query, _) = photos
        page.open(first, mask)
        page.give("queries", second, query)
        page.teach("cat")
        page.answered(2)
        index = page.masks()[0]
    predictor.set_support(first, mask, "cat")
    for photo in (second, query):
        expected = predictor.predict(photo).mask
        assert expected.any() and agreement(index[photo.name], expected) > AGREE


def test_a_page_in_8_bits_answers_as_onnxruntime_does(folder, predictor, site, converted, libraries,
                                                      photos, driver, downloads, tmp_path,
                                                      monkeypatch):
    monkeypatch.setattr(int8, "PHOTOS", 8)
    monkeypatch.setattr(int8, "MOST_LOST", 0.1)
    monkeypatch.setattr(int8, "has_vnni", lambda: False)
    trials = int8.Trials(Trained.load(folder), 4)
    narrow, _ = write(predictor, tmp_path / "site", "toy", libraries, trials)
    facts = json.loads((narrow / FACTS).read_text())
    assert facts["int8"]["episodes"] == 4 and facts["int8"]["calibrated_on"] == 8
    assert (narrow / "embed.onnx").stat().st_size < (site / "embed.onnx").stat().st_size
    (first, mask), _, (query, _) = photos
    with page_server.serving(narrow) as address:
        page = Page(driver, address, downloads, "?backend=webgpu")
        assert "WebAssembly" in page["model"].text  # WebGPU has no such convolutions
        page.open(first, mask)
        page.give("queries", query)
        page.teach("cat")
        page.answered(1)
        index = page.masks()[0][query.name]
    model = page_model(narrow)
    taught = page_files._teach(model, load_photo(first),
                               (cv2.imread(str(mask), 0) > 127).astype(np.uint8))
    picture = load_photo(query)
    probability = model.run("segment_many", {
        "features": model.run("embed", {"photo": picture})["features"],
        "size": np.array(picture.shape[:2], np.int32), **page_files._card([taught])}
        )["probability"][0]
    expected = probability >= facts["points"][0]["threshold"]
    assert expected.any() and agreement(index, expected) > AGREE
    assert not console_errors(driver)


def test_python_s_class_card_answers_in_the_page(page, predictor, photos, tmp_path):
    (first, mask), (_, _), (query, _) = photos
    predictor.cards.clear()
    predictor.set_support(first, mask, "größte Katze").save(tmp_path / "card.npz")
    page.give("card", tmp_path / "card.npz")
    page.give("queries", query)
    page.answered(1)
    index, coco = page.masks()
    assert agreement(index[query.name], predictor.predict(query).mask) > AGREE
    assert coco["categories"] == [{"id": 1, "name": "größte Katze"}]
    rows, columns = np.nonzero(index[query.name])
    assert coco["annotations"][0]["bbox"] == [
        columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    again = ClassCard.load(page.card(), predictor.model_sha256)
    for field in ("prototype", "untuned", "score", "score_after", "thumbnail", "how", "name",
                  "others", "cells"):
        np.testing.assert_array_equal(getattr(again, field),
                                      getattr(predictor.cards["größte Katze"], field))


# ---- marks, keys, touch --------------------------------------------------------------------------


def marked(page):
    """Of the mark in the making: its share of the photo, its frame in shares of the photo."""
    found = page.driver.execute_async_script("""
        const done = arguments[0];
        import('./page.js').then(({ state, markOf }) => {
          const { support } = state, mask = markOf(support);
          done([support.width, support.height, Array.from(mask).join('')]);
        });""")
    mask = np.array([*found[2]], np.uint8).reshape(found[1], found[0])
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return {"share": 0, "x": [], "y": []}
    return {"share": mask.mean(),
            "x": [columns.min() / found[0], columns.max() / found[0]],
            "y": [rows.min() / found[1], rows.max() / found[1]]}


@pytest.fixture
def drawn(page, site):
    """The page with a drawn picture to mark."""
    page.open(site / "examples" / "picture1.png")
    return page


def test_tools_draw_what_they_say_and_undo_takes_back(drawn):
    drawn.press("tool-box")
    drag(drawn, (0.25, 0.25), (0.75, 0.5))
    box = marked(drawn)
    assert abs(box["share"] - 0.125) < 0.01
    assert np.allclose([*box["x"], *box["y"]], [0.25, 0.75, 0.25, 0.5], atol=0.01)
    drawn.press("tool-eraser")
    drag(drawn, (0.2, 0.375), (0.8, 0.375))
    assert 0.08 < marked(drawn)["share"] < 0.12
    drawn.press("undo")
    assert marked(drawn)["share"] == box["share"]
    drawn.press("clear")
    assert marked(drawn)["share"] == 0 and not drawn["teach"].is_enabled()
    drawn.press("tool-brush")
    drag(drawn, (0.2, 0.2), (0.8, 0.2))
    stroke = marked(drawn)
    assert np.allclose(stroke["x"], [0.186, 0.814], atol=0.01)  # half its width beyond its ends
    assert np.allclose(stroke["y"], [0.186, 0.214], atol=0.01)


def test_a_polygon_is_closed_where_it_began(drawn):
    from selenium.webdriver.common.action_chains import ActionChains
    drawn.press("tool-polygon")
    canvas = drawn["canvas"]
    drawn.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    for x, y in ((-.25, -.25), (.25, -.25), (.25, .25), (-.25, -.25)):
        ActionChains(drawn.driver).move_to_element_with_offset(
            canvas, round(x * size["width"]), round(y * size["height"])).click().perform()
    assert abs(marked(drawn)["share"] - 0.125) < 0.01


def test_the_keyboard_alone_marks_and_teaches(drawn):
    from selenium.webdriver.common.keys import Keys
    drawn["name"].clear()
    drawn["name"].send_keys("thing")
    drawn.press("tool-box")
    drawn["canvas"].send_keys(*[Keys.ARROW_LEFT] * 10, *[Keys.ARROW_UP] * 10, " ",
                              *[Keys.ARROW_RIGHT] * 20, *[Keys.ARROW_DOWN] * 20, " ")
    box = marked(drawn)
    assert np.allclose([*box["x"], *box["y"]], [0.25, 0.75, 0.25, 0.75], atol=0.01)
    drawn["canvas"].send_keys(Keys.CONTROL, "z")
    assert marked(drawn)["share"] == 0
    # Taken back in the middle of a stroke; the keyboard goes on.
    drawn["canvas"].send_keys(" ", Keys.ARROW_RIGHT, Keys.CONTROL, "z")
    drawn["canvas"].send_keys(Keys.NULL, Keys.ARROW_LEFT)
    assert not console_errors(drawn.driver) and marked(drawn)["share"] == 0
    drawn["canvas"].send_keys(" ", *[Keys.ARROW_LEFT] * 5, *[Keys.ARROW_UP] * 5, " ")
    assert marked(drawn)["share"] > 0.01
    drawn["teach"].send_keys(Keys.ENTER)
    drawn.wait(lambda: "Taught “thing”" in drawn["said"].text)


def test_a_second_press_while_it_learns_teaches_nothing_twice(drawn):
    drawn["name"].clear()
    drawn["name"].send_keys("twice")
    drawn.press("tool-box")
    drag(drawn, (0.25, 0.25), (0.75, 0.75))
    drawn.driver.execute_script(
        "arguments[0].click(); arguments[1].value = 'again'; arguments[0].click();",
        drawn["teach"], drawn["name"])
    drawn.wait(lambda: "Taught “twice”" in drawn["said"].text and drawn["teach"].is_enabled())
    assert [one.text for one in drawn.driver.find_elements("css selector", "#classes strong")] == [
        "twice"]


def test_the_outline_stays_within_a_box_and_grows_from_strokes(drawn):
    drawn.press("tool-box")
    drag(drawn, (0.1, 0.3), (0.8, 0.9))
    box = marked(drawn)
    drawn.press("outline")
    drawn.wait(lambda: "what the model takes" in drawn["said"].text)
    found = marked(drawn)
    assert 0 < found["share"] <= box["share"] and found["x"][0] >= box["x"][0]
    drawn.press("clear")
    drawn.press("tool-brush")
    drag(drawn, (0.3, 0.6), (0.4, 0.6))
    stroke = marked(drawn)["share"]
    drawn.press("outline")
    drawn.wait(lambda: "what the model takes" in drawn["said"].text
               and marked(drawn)["share"] >= stroke)


def test_what_goes_wrong_is_said(page, site, predictor, tmp_path):
    (tmp_path / "fake.jpg").write_text("no photo")
    page.give("support", tmp_path / "fake.jpg")
    page.wait(lambda: "no photo that this browser can read" in page["said"].text)
    page.give("mask", site / "examples" / "mark1.png")
    page.wait(lambda: "open the photo first" in page["said"].text)
    predictor.cards.clear()
    card = predictor.set_support(blocks(80, 80, 3), np.eye(80, dtype=np.uint8), "other")
    ClassCard(**{**vars(card), "model_sha256": "0"}).save(tmp_path / "other.npz")
    page.give("card", tmp_path / "other.npz")
    page.wait(lambda: "other.npz: class “other” was taught to another model" in page["said"].text)
    page.give("card", tmp_path / "fake.jpg")
    page.wait(lambda: "no class card" in page["said"].text)
    card.save(tmp_path / "good.npz")
    page.give("card", tmp_path / "good.npz")
    page.give("queries", tmp_path / "fake.jpg", site / "examples" / "picture2.png")
    page.answered(2)
    assert "no photo that this browser can read" in page["photos"].text
    assert list(page.masks()[0]) == ["picture2.png"]


def test_a_photo_that_changed_meanwhile_is_said_and_the_search_goes_on(page, site, tmp_path):
    page.press("try")
    page.wait(page["teach"].is_enabled)
    page.press("forget")
    photos = [shutil.copy(site / "examples" / f"picture{i}.png", tmp_path) for i in (2, 3)]
    # To the last two the browser gives no type; the ending tells.
    others = [tmp_path / name for name in ("notes.pdf", "Thumbs.db", "README")]
    for path in others:
        path.write_bytes(b"")
    page.give("queries", *photos, *others)
    page.wait(lambda: "3 files left out, no pictures: notes.pdf, Thumbs.db, README." in
              page["said"].text)
    page.press("teach")
    page.answered(2)
    (tmp_path / "picture2.png").write_bytes(b"edited")
    with zipfile.ZipFile(io.BytesIO(page.download(page["save"], "masks.zip"))) as files:
        assert sorted(files.namelist()) == ["picture2.png.index.png", "picture3.png.index.png",
                                            "picture3.png.overlay.jpg", "predictions.json"]
    assert "Without an overlay: picture2.png (its file was moved or changed" in page["said"].text
    page.press("always")  # features are kept: only the picture is read again
    page.wait(lambda: "its file was moved or changed" in page["photos"].text)
    page.answered(2)
    assert list(page.masks()[0]) == ["picture3.png"]


@pytest.fixture
def card(predictor):
    """Of a class “thing”."""
    mask = np.zeros((60, 64), np.uint8)
    mask[20:40, 20:40] = 1
    predictor.cards.clear()
    return predictor.set_support(blocks(60, 64, 0), mask, "thing")


def test_photos_that_a_canvas_cannot_hold_are_said_and_told_apart_in_the_zip(page, site, card,
                                                                             tmp_path):
    cv2.imwrite(str(tmp_path / "long.png"), np.full((4, 40000, 3), 90, np.uint8))
    # Read as a canvas is that the browser finds too large.
    cv2.imwrite(str(tmp_path / "clear.png"), np.zeros((40, 40, 4), np.uint8))
    page.give("card", card.save(tmp_path / "thing.npz"))
    page.give("queries", tmp_path / "long.png", tmp_path / "clear.png",
              site / "examples" / "picture2.png")
    page.answered(3)
    listed = page["photos"].text
    assert "40000 x 4 pixels; 50 million are taken at most, 32767 a side" in listed
    assert "an empty picture: all transparent, or too large for this browser" in listed
    assert list(page.masks()[0]) == ["picture2.png"]
    assert page["said"].text == ("1 photos in masks.zip. Left out, as they could not be searched: "
                                 "long.png, clear.png.")


def test_an_overlay_that_the_browser_cannot_write_costs_no_mask(page, site, card, tmp_path):
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((40, 300, 3), 90, np.uint8))
    page.give("card", card.save(tmp_path / "thing.npz"))
    page.give("queries", tmp_path / "wide.png", site / "examples" / "picture2.png")
    page.answered(2)
    page.driver.execute_script("""
        const { toBlob } = HTMLCanvasElement.prototype;
        HTMLCanvasElement.prototype.toBlob = function (done, ...given) {
          if (this.width === 300) done(null);  // what a browser gives that cannot
          else toBlob.call(this, done, ...given);
        };""")
    with zipfile.ZipFile(io.BytesIO(page.download(page["save"], "masks.zip"))) as files:
        assert sorted(files.namelist()) == ["picture2.png.index.png", "picture2.png.overlay.jpg",
                                            "predictions.json", "wide.png.index.png"]
    assert ("Without an overlay: wide.png (300 x 40 pixels, too large for this browser)."
            in page["said"].text)


def test_a_search_that_was_stopped_goes_on(page):
    page.press("try")
    page.wait(page["teach"].is_enabled)
    page.driver.execute_async_script("""
        const [done] = arguments, stop = document.getElementById('stop');
        const looking = setInterval(() => {
          if (stop.disabled) return;
          stop.click();
          clearInterval(looking);
          done();
        }, 1);
        document.getElementById('teach').click();""")
    assert page["stop"].text == "Go on"
    page.wait(lambda: page["photos"].text.count("score") >= 1)  # the one that was under way
    left = page["photos"].text.count("not searched yet")
    assert left > 0
    page.press("stop")
    page.answered(left)
    assert page["photos"].text.count("score") == 5
    assert page["stop"].text == "Stop" and not page["stop"].is_enabled()


def test_absent_classes_are_said_and_answered_on_demand(page, site, predictor, tmp_path):
    """The toy run has no threshold of presence: the page is told one above every score."""
    page.driver.execute_async_script("""
        const done = arguments[0];
        import('./page.js').then(async ({ state, ask }) => {
          await ask('setPoints', state.model.points.map((one) => ({ ...one, presence: 2 })));
          done();
        });""")
    page.press("try")
    page.wait(lambda: page["teach"].is_enabled())
    page.press("teach")
    page.answered(5)
    assert "star: not there" in page["found"].text
    assert not any(mask.any() for mask in page.masks()[0].values())
    page.press("always")
    page.wait(lambda: "%" in page["found"].text)


def test_only_answers_to_the_classes_of_now_are_saved(page):
    page.press("try")
    page.wait(page["teach"].is_enabled)
    page.press("teach")
    page.answered(5)
    page.driver.execute_async_script("""
        const done = arguments[0];
        import('./page.js').then(({ state }) => {
          state.version++;
          state.photos[0].version = state.version;
          done();
        });""")
    index, coco = page.masks()
    assert len(index) == len(coco["images"]) == 1
    assert "1 photos in masks.zip. 4 not answered yet are left out." in page["said"].text


@pytest.mark.parametrize("colours, expected", [
    ([0, 0xffffff], [0, 1]), ([0, 0x010101, 0xffffff], [0, 1, 255]),
    ([0, 0x800000, 0xe0e0c0], [0, 1, 255]), ([0, 0x010101, 0x808080, 0xffffff], "2 colours"),
    ([0, 0x808080, 0xffffff], "2 colours"), ([0], "0 colours")])
def test_a_mask_has_black_and_one_colour(page, colours, expected):
    rgb = [colour >> shift & 255 for colour in colours for shift in (16, 8, 0)]
    got = page.driver.execute_async_script("""
        const [rgb, done] = arguments;
        import('./page.js').then(({ maskOf }) => done(Array.from(maskOf(rgb)))).catch(
          (error) => done(error.message));""", rgb)
    assert got == expected if isinstance(expected, list) else expected in got


@pytest.mark.parametrize("second_look", [0.0, 0.3])
def test_padding_is_no_part_of_the_score(folder, second_look):
    """The score counts the highest places of the photo alone, however probable the padding."""
    predictor = Predictor.from_run(folder)
    predictor.config.data.resize, predictor.config.model.second_look = "pad", second_look
    photo, query, mask = blocks(60, 64, 0), blocks(20, 64, 1), np.zeros((60, 64), np.uint8)
    mask[20:40, 20:40] = 1
    card = predictor.set_support(photo, mask, "thing")
    graphs = PageGraphs(predictor)
    features = graphs.embed(query)["features"]
    got = graphs.segment_many(features, card.prototype[None], card.score[None],
                              tf.constant(query.shape[:2]))
    expected = predictor.predict(query)
    assert float(got["presence"][0]) == pytest.approx(expected.score, abs=1e-5)
    maps = predictor.model.inference.segment_many(
        features, card.prototype[None, None], card.score[None, None], (65, 65), *graphs.answering)
    agreement = predictor.model.inference.agreement_many(features, maps, card.prototype[None, None])
    rows, columns = framed_size(20, 64, 65, "pad")
    assert rows < 65 and expected.score == pytest.approx(presence.score_map(
        maps[0, 0, :rows, :columns].numpy(), float(agreement[0, 0])), abs=1e-5)


def test_a_removed_class_takes_its_answers_along(page):
    page.press("try")
    page.wait(page["teach"].is_enabled)
    page.press("teach")
    page.answered(5)
    page.driver.find_element("css selector", ".shots button").click()
    page.wait(lambda: not page["save"].is_enabled())
    assert page["photos"].text.count("not searched yet") == 5
    assert not page.driver.find_elements("css selector", "#classes li")


def test_a_class_that_is_removed_while_it_is_searched_for_stays_away(page):
    page.press("try")
    page.wait(page["teach"].is_enabled)
    page.press("teach")
    page.wait(lambda: page.driver.find_elements("css selector", ".shots button"))
    page.driver.find_element("css selector", ".shots button").click()  # answers are on their way
    page.driver.execute_async_script("""
        const done = arguments[0];
        import('./page.js').then(({ state }) => setTimeout(
          () => done(state.photos.map((photo) => photo.answer ?? null)), 3000));""")
    assert page["photos"].text.count("not searched yet") == 5


def taught(page):
    """Of each class its name and how many photos."""
    return page.driver.execute_async_script("""
        const done = arguments[0];
        import('./page.js').then(({ state }) => done(
          state.classes.map(({ name, shots }) => [name, shots.length])));""")


def test_cards_are_taken_together_or_not_at_all(page, card, tmp_path):
    good, bad = card.save(tmp_path / "good.npz"), tmp_path / "bad.npz"
    bad.write_bytes(b"no card")
    page.give("card", good, bad)
    page.wait(lambda: "bad.npz" in page["said"].text)
    assert not page.driver.find_elements("css selector", "#classes li")
    assert taught(page) == []


def test_a_card_takes_no_other_class_s_place(page, card, tmp_path):
    page.press("try")
    page.wait(page["teach"].is_enabled)
    page.teach("thing")
    loaded, again = card.save(tmp_path / "card.npz"), card.save(tmp_path / "card (1).npz")
    page.give("card", loaded)
    page.wait(lambda: "card.npz: a class “thing” is here already; remove it" in page["said"].text)
    assert page.driver.find_elements("css selector", "#classes canvas")  # a card has none
    page.driver.find_element("css selector", ".shots button").click()
    page.give("card", loaded, again)
    page.wait(lambda: "card (1).npz: its class is called “thing”, as that of card.npz" in
              page["said"].text)
    assert taught(page) == []
    page.give("card", loaded)
    page.wait(lambda: page["said"].text == "Loaded thing.")
    assert taught(page) == [["thing", 1]]


@pytest.mark.parametrize("change, words", [
    (lambda arrays: arrays.pop("prototype"), "it has no prototype"),
    (lambda arrays: arrays.update(score=np.zeros(2, "f4")), "its arrays do not fit each other"),
    (lambda arrays: arrays.update(untuned=np.zeros(3)), "numbers of type <f8")])
def test_a_damaged_card_is_said(page, card, tmp_path, change, words):
    with np.load(card.save(tmp_path / "card.npz")) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(tmp_path / "card.npz", **arrays)
    page.give("card", tmp_path / "card.npz")
    page.wait(lambda: page["said"].text == (
        f"card.npz: a damaged class card ({words}); teach the class again"))
    assert taught(page) == []


# ---- what it keeps to ----------------------------------------------------------------------------


def test_it_can_be_used_without_eyes_and_on_a_phone(driver, address, downloads, libraries):
    axe = (libraries / "axe-core" / "axe.min.js").read_text()
    for width, scheme in ((1440, "light"), (390, "dark")):
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": scheme}]})
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500})
        page = Page(driver, address, downloads)
        page.press("try")
        page.wait(page["teach"].is_enabled)
        page.press("teach")
        page.answered(5)
        driver.execute_script(axe)
        found = driver.execute_async_script("axe.run().then(arguments[0])")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert found["passes"]
        wide, inner = driver.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= inner
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_local_server_says_what_the_page_says(address, site):
    with urllib.request.urlopen(f"{address}/index.html", timeout=10) as answer:
        policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert policy.removesuffix("; frame-ancestors 'none'") in text
    for name, kind in (("page.js", "text/javascript"), ("lib/ort.wasm.min.mjs", "text/javascript"),
                       ("lib/ort-wasm-simd-threaded.wasm", "application/wasm")):
        with urllib.request.urlopen(f"{address}/{name}", timeout=10) as answer:
            assert answer.headers["Content-Type"] == kind
    port = int(address.rpartition(":")[2])
    with pytest.raises(UserError, match=f"--port {port}"), page_server.serving(site, port):
        pass
    with pytest.raises(UserError, match=f"--port {port}"):
        page_server.refuse_taken(port)
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError), socket.create_connection((own, port), 2):
            pass


def test_one_thread_is_enough(site, driver, downloads):
    """A host that sends no headers: WebAssembly without threads answers as well."""
    with page_server.serving(site, isolated=False) as plain:
        page = Page(driver, plain, downloads)
        assert "1 thread" in page["model"].text
        page.press("try")
        page.wait(page["teach"].is_enabled)
        page.press("teach")
        page.answered(5)


def test_nothing_is_asked_of_another_origin(driver, address, downloads):
    """After all the tests above: the console and the browser's own record of its requests."""
    assert not console_errors(driver)
    record = downloads / "net.json"
    driver.quit()
    text = record.read_text()
    events = json.loads(text if text.rstrip().endswith("}") else text.rstrip().rstrip(",") + "]}")
    kind = events["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    started = [one["params"] for one in events["events"]
               if one["type"] == kind and "url" in one.get("params", {})]
    asked = {one["url"] for one in started  # not what Chromium asks by itself
             if one.get("initiator", "").startswith("http://127.0.0.1:")}
    assert {f"{address}/{one}" for one in ("page.js", "embed.onnx", "model.json")} < asked
    assert not [one for one in asked if not one.startswith("http://127.0.0.1:")]
