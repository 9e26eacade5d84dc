# SPDX-License-Identifier: Apache-2.0
"""Every block of Python and shell in README and docs runs, or says why no test runs it."""

import contextlib
import functools
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines import open_source
from pipelines.sources.shapes import ShapesSource
from sst_tf.predictor import Predictor
from tests import doc_blocks
from tests.pipelines.tiny_voc import write_tiny_voc

BLOCKS = {page: doc_blocks.blocks(page) for page in doc_blocks.PAGES}
RUNNABLE = [page for page, found in BLOCKS.items() if any(one.runs_here for one in found)]
ALIASES = ("runs/shapes_small", "runs/NAME", "RUN")
TUTORIAL = next(page for page in RUNNABLE if page.name == "research.md")
PICTURES = ("mug1", "mug2", "mug", "shelf", "desk", "a", "b", "photos/1", "photos/2")


def marked(picture, source):
    """The first class of a picture, uint8 of 0 and 255."""
    mask = source.read_mask(picture)
    return np.uint8(255 * (mask == mask[mask > 0][0]))


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """What the pages speak of: photos, masks, data sets, runs, a class card; few drawn pictures."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(ShapesSource.__init__, "__defaults__", (128, 250, 0))
        for block in BLOCKS[TUTORIAL]:
            if block.runs_here:
                doc_blocks.run(block, {})
        for name in ALIASES:
            shutil.copytree("runs/both", name)
        source = open_source("shapes", image_size=400)
        Path("photos").mkdir()
        for name, picture in zip(PICTURES, source.image_ids("all"), strict=False):
            cv2.imwrite(f"{name}.jpg", source.read_image(picture)[..., ::-1])
            for mask in (f"{name}_mask.png", name.replace("mug", "mask") + ".png"):
                if not name.startswith("photos"):
                    cv2.imwrite(mask, marked(picture, source))
        for name in ("FOLDER", "VOCdevkit"):
            write_tiny_voc(Path(name), suffix=".jpg")
        Path("VOCdevkit/classes.txt").unlink()  # its classes are PASCAL's
        plate = Predictor.from_run("RUN").set_support("a.jpg", "a_mask.png", "plate")
        plate.save("plate.npz")
        yield folder


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_blocks_run(page, desk, monkeypatch):
    if page == TUTORIAL:
        return  # the fixture has run it
    monkeypatch.chdir(desk)
    names = {}
    for block in BLOCKS[page]:
        if block.runs_here:
            doc_blocks.run(block, names)
    if page.name == "pipelines.md":
        assert len(list(names["test"])) == 5
        assert len(names["episodes_of_bam"]) == 10
        assert next(iter(names["batches"]))["query_image"].shape == (2, 33, 33, 3)


def test_every_target_of_make_that_a_page_names_has_a_rule():
    """A target that is only .PHONY does nothing and succeeds."""
    makefile = (doc_blocks.ROOT / "Makefile").read_text()
    rules = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", makefile, re.M).group(1)
    assert set(phony.replace("\\", " ").split()) == rules
    for page in doc_blocks.PAGES:
        text = page.read_text()
        code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^[^#`\n]+$", text, re.M)
        named = {word for one in code for word in re.findall(r"^make ([a-z][a-z0-9-]*)", one)}
        assert named <= rules, (page, named - rules)


def test_every_block_runs_or_says_why():
    run, marked = doc_blocks.count()
    assert run >= 15 and marked > 0
    for found in BLOCKS.values():
        for reason in (block.reason or block.test for block in found if not block.runs_here):
            assert len(reason) > 10
            for path in re.findall(r"tests/[\w/.]*\w", reason):
                assert (doc_blocks.ROOT / path).exists(), f"{reason}: no such test"


def rows(page):
    """{project: {row: cell}} of the tables of peers on a page."""
    table, found = [], {}
    for line in (doc_blocks.ROOT / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[:2] == ["", "sst-tf"]:
            table = cells
        elif line.startswith("|") and table and "---" not in cells:
            for project, cell in zip(table[1:], cells[1:], strict=True):
                found.setdefault(project, {})[cells[0]] = cell
        elif not line:
            table = []
    return found


def test_readme_compares_as_the_page_does():
    short, whole = rows("README.md"), rows("docs/comparison.md")
    assert len(short) == len(whole) == 13
    for project, cells in short.items():
        assert cells.items() <= whole[project].items(), project


def test_readme_is_short():
    assert len((doc_blocks.ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_a_command_that_fails_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = functools.partial(doc_blocks.Block, "page.md", 1, reason=None)
    with pytest.raises(AssertionError, match="ended with 2"):
        doc_blocks.run(block("shell", "sst evaluate nowhere\n"), {})
    with pytest.raises(AssertionError, match="make is not sst"):
        doc_blocks.run(block("shell", "make \\\n  train  # minutes\n"), {})
    with pytest.raises(ZeroDivisionError):
        doc_blocks.run(block("python", "1 / 0\n"), {})


def test_marks_belong_to_the_block_below(tmp_path, monkeypatch):
    monkeypatch.setattr(doc_blocks, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: needs a GPU -->\n```sh\nmake\n```\n\n```sh\nsst --help\n```\n"
                    "```yaml\na: 1\n```\n", encoding="utf-8")
    first, second = doc_blocks.blocks(page)
    assert (first.reason, second.reason) == ("needs a GPU", None)
    assert (first.text, second.place) == ("make\n", "page.md:6")
