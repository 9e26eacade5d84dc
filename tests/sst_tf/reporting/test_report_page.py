# SPDX-License-Identifier: Apache-2.0
"""The report: everything it promises is on the page, in a browser and at phone width."""

import json
import re
import shutil
from types import SimpleNamespace
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import yaml

from pipelines.errors import UserError
from pipelines.sampler import dump_episodes, load_episodes
from sst_tf import evaluate, report
from sst_tf.config import DataConfig
from sst_tf.evaluation.stored import read_results
from sst_tf.reporting import document, figures
from sst_tf.reporting.report_page import Report, Subject, describe, episodes
from sst_tf.runs.directory import Run
from tests.browser import browser, console_errors  # noqa: F401  a fixture
from tests.export.conftest import make_run
from tests.sst_tf.test_commands import fails

pytestmark = pytest.mark.usefixtures("kept_models")

QUICK = ["--evaluate.episodes", "24", "--evaluate.shots", "[1,2]", "--evaluate.resamples", "20",
         "--evaluate.threshold_episodes", "6", "--evaluate.absent_episodes", "6"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report on two runs of the same photos; its folder."""
    folder = tmp_path_factory.mktemp("report")
    for name, auxiliary in (("one", "1"), ("two", "0")):
        run = make_run(folder / name, DataConfig(image_size=33, count=300))
        run.thresholds_path.unlink()  # to be chosen by the evaluation
        Run.create(run.folder, run.config([*QUICK, "--loss.auxiliary", auxiliary]))
        run.append_history({"epoch": 0, "novel_miou": 0.1, "base_miou": 0.2})
        run.append_history({"epoch": 1, "novel_miou": 0.2, "base_miou": 0.3})
        evaluate.main([str(run.folder)])
    report.main([str(folder / "one"), str(folder / "two"), "--output", str(folder / "page"),
                 "--side", "64", "--credit", "Drawn shapes."])
    return folder / "page"


def test_every_part_is_there(page):
    text = (page / "report.md").read_text()
    for words in ("## Runs", "## 1-shot", "## 2-shot", "two minus one, at 0.5", "figure 3",
                  "without auxiliary loss (figure 4)", "figure 5", "figure 6", "Worst and best",
                  "taken for the class", "| one, 1-shot | 0.1", "Drawn shapes."):
        assert words in text, words
    for path in re.findall(r"\((figures/[^)]+)\)", text):
        picture = cv2.imread(str(page / path))
        assert picture is not None and picture.std() > 5, path
    assert cv2.imread(str(page / "figures" / "tuning_one.jpg")).shape[1] == 6 * (64 + 4)
    rates = text.split("classes that are not there")[1].splitlines()[4]
    assert rates.count("%") == 2


def test_the_page_stands_alone(page):
    html = (page / "report.html").read_text()
    assert "figures/" not in html.replace("/figures/", "") and html.count("data:image/") >= 9
    assert not re.findall(r'(?:src|href)="(?!data:)', html)


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it(page, browser, width):  # noqa: F811
    browser.set_window_size(width, 900)
    browser.get((page / "report.html").as_uri())
    assert not console_errors(browser)
    shown = browser.execute_script(
        "return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert shown
    wide, inner = browser.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= inner
    assert len(browser.find_elements("css selector", "table")) >= 3


def test_unequal_runs_are_not_compared(page, tmp_path):
    shutil.copytree(page.parent / "two", tmp_path / "two")
    path = Run(tmp_path / "two").evaluation_path("novel_1shot")
    content = read_results(path)
    content["protocol"]["image_size"] = 473
    path.write_text(json.dumps(content))
    made = Report(tmp_path / "page")
    describe(made, [Subject(page.parent / "one"), Subject(tmp_path / "two")])
    assert "Not compared: two and one differ in image_size" in document.markdown(made.parts)


def test_runs_without_photos_or_evaluations(page, tmp_path):
    shutil.copytree(page.parent / "one", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "evaluations")
    with pytest.raises(UserError, match="not evaluated"):
        Subject(tmp_path / "bare")
    one = Subject(page.parent / "one")
    one.painter = None
    made = Report(tmp_path / "page")
    episodes(made, [one])
    assert "its photos are not here" in made.parts[0].text


def test_photos_that_are_elsewhere_are_told_with_the_remedy(page, tmp_path, capsys):
    folder = shutil.copytree(page.parent / "one", tmp_path / "away")
    run = Run(folder)
    for root, remedy in (("gone/voc", "run this in the folder where data.root begins, or change"),
                         (str(tmp_path / "gone"), "change")):
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        settings["data"] |= {"dataset": "voc", "root": root}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        report.main([str(folder), "--output", str(tmp_path / "page")])
        text = (tmp_path / "page" / "report.md").read_text()
        assert "away: its photos are not here" in text and "figure 3" not in text
        told = capsys.readouterr().err
        assert (f"note: away: its photos are not here, so no pictures of it: {root}: no such "
                f"folder (data.root); {remedy} data.root in {run.folder / 'config.yaml'}\n") in told
        report.main([str(folder), "--output", str(tmp_path / "page"), "--without_photos"])
        assert "note" not in capsys.readouterr().err


def test_confusion_counts_false_foreground_by_what_it_covers(page):
    one = Subject(page.parent / "one")
    painter = one.painter

    def everything(*arguments):
        return np.ones((33, 33), np.uint8)

    painter._answer = everything
    episodes = one.episodes(1, 3)
    found = painter.confusion(episodes)
    background = sum(int((np.asarray(e["query_mask"]) == 0).sum())
                     for e in painter.batches(episodes))
    assert sum(found.values()) == background and found["background"] > 0

    arrays = list(painter.batches(episodes))
    painter.batches = lambda _: arrays
    masks = {e.query: painter.data.source.class_masks(e.query) for e in episodes}
    # Of a data set with more classes than an index mask names there is none.
    painter.data = SimpleNamespace(source=SimpleNamespace(
        classes=painter.data.source.classes, class_masks=masks.__getitem__))
    assert painter.confusion(episodes) == found


def test_heat_shows_the_largest_place():
    values = np.zeros((8, 8))
    values[2, 3] = 1
    shown = figures.heat(np.zeros((8, 8, 3), np.uint8), values)
    assert shown.sum(-1).argmax() == 2 * 8 + 3


def test_a_class_without_iou_has_no_bar(tmp_path):
    path = figures.bars(tmp_path / "bars.png", {"one": {"cup": 0.5, "fork": None}})
    assert cv2.imread(str(path)) is not None


def test_a_page_without_photos(page, tmp_path):
    folders = [shutil.copytree(page.parent / "one", tmp_path / part / "one") for part in "ab"]
    for folder in folders:  # results outlive the model
        Run(folder).model_path.unlink()
    report.main([*map(str, folders), "--output", str(tmp_path), "--without_photos"])
    text = (tmp_path / "report.md").read_text()
    assert "## 1-shot" in text and "figure 6" in text and "figure 3" not in text
    assert "**a/one**" in text and "**b/one**" in text
    assert not list((tmp_path / "figures").glob("*.jpg"))


def test_a_page_without_photos_goes_to_no_folder_that_has_some(page, capsys):
    before = (page / "report.md").read_bytes()
    words = fails(capsys, [str(page.parent / "one"), "--output", str(page), "--without_photos"],
                  report.main)
    assert "pictures of photos that an earlier page left" in words and "--output" in words
    assert (page / "report.md").read_bytes() == before


def test_pictures_are_of_the_episodes_that_were_scored(page, tmp_path):
    """Wherever these came from: a file of episodes, or several runs."""
    folder = shutil.copytree(page.parent / "one", tmp_path / "one")
    path = Run(folder).evaluation_path("novel_1shot").with_suffix(".jsonl")
    scored = load_episodes(path)[::-1]
    dump_episodes(scored, path)
    assert Subject(folder, photos=False).episodes(1, 3) == scored[:3]
    assert len(Subject(folder, photos=False).episodes(1, 60)) == 24


def test_a_run_that_was_scored_with_several_classes_at_a_time_says_so(page, tmp_path):
    one, picture = Subject(page.parent / "one"), np.zeros((8, 8, 3), np.uint8)
    one.ways, real = 2, one.painter
    one.painter = SimpleNamespace(
        side=8, data=real.data, batches=real.batches, tuning=lambda some: picture,
        own=lambda some: [[picture, picture]] * len(some), shots=lambda some: picture,
        confusion=lambda some: {})
    made = Report(tmp_path / "page")
    describe(made, [one])
    episodes(made, [one])
    text = document.markdown(made.parts)
    assert "24 2-way episodes of" in text and "one: scored with 2 classes at a time" in text
    assert "(figure 4)" not in text and "this page has one kind alone" in text
    assert "Worst and best" not in text  # of one class each, which none of its scores is


# ---- names are text ------------------------------------------------------------------------------

SCRIPT, PIPE, DOLLAR = "<script>alert(1)</script>", "a|b", r"*$\nothing$*"
RUN = "c|d <img src=x onerror=alert(2)>"  # a folder's name


@pytest.fixture(scope="module")
def hostile(page, tmp_path_factory):
    """A report on a run whose folder and classes have names that HTML or Markdown would read."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(page.parent / "one", folder / RUN)
    for shots in (1, 2):
        path = Run(folder / RUN).evaluation_path(f"novel_{shots}shot")
        content = read_results(path)
        content["protocol"]["novel_classes"][:3] = [SCRIPT, PIPE, DOLLAR]
        classes = content["scores"]["tuned"]["per_class"]
        content["scores"]["tuned"]["per_class"] = dict(zip(
            [SCRIPT, PIPE, DOLLAR, *list(classes)[3:]], classes.values(), strict=True))
        path.write_text(json.dumps(content))
    report.main([str(folder / RUN), "--output", str(folder / "page"), "--title", SCRIPT])
    return folder / "page"


def test_names_are_text_in_html(hostile):
    html = (hostile / "report.html").read_text()
    assert "<script" not in html and "<img src=x" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "a|b" in html


def test_names_are_text_in_markdown(hostile):
    text = (hostile / "report.md").read_text()
    assert "<script" not in text and "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and r"a\|b" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    pictures = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert pictures and all((hostile / unquote(path)).is_file() for path in pictures)


def test_names_are_text_in_a_browser(hostile, browser):  # noqa: F811
    browser.get((hostile / "report.html").as_uri())
    assert not console_errors(browser)  # an alert would have made `get` fail as well
    assert browser.title == SCRIPT
    shown = browser.find_element("css selector", "body").text
    for name in (SCRIPT, PIPE, DOLLAR, RUN):
        assert name in shown, name
    assert browser.execute_script(
        "return document.querySelectorAll('script,[onerror],[src]:not([src^=data])').length") == 0
