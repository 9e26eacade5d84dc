# SPDX-License-Identifier: Apache-2.0
"""The documentation site builds strictly, and its pages ask no other server for anything."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("docs", "pipelines", "sst_tf", "export")
FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\" >]+)")
# Zensical's script loads these from other servers where a page uses them.
FETCHING = ("class=\"mermaid", "class=\"pyodide", "data-glightbox")


def build(folder):
    """Zensical in a copy, so that nothing of an earlier build counts."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    return subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict"],
                          cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documentation")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_page_of_the_folder_is_built(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html")
             for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}


def test_every_page_is_in_the_navigation():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").as_posix()
        assert f": {name}\n" in listed or name.startswith("results/"), name


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not FETCHED.findall(text), path
        assert not any(one in text for one in FETCHING), path


def test_the_reference_has_signatures_and_meanings(site):
    text = (site / "api" / "sst_tf.html").read_text(encoding="utf-8")
    assert "Tune a class to K marked photos" in text
    assert 'id="sst_tf.photos.predictor.Predictor.set_support"' in text
    assert "Returns: " not in text and "Raises: " not in text  # sections, not sentences


def test_a_dead_link_ends_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[gone](gone.md)\n", encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text("site_name: toy\n", encoding="utf-8")
    done = subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "page does not exist" in done.stdout + done.stderr


def test_the_configuration_page_is_what_the_code_says():
    made = runpy.run_path(str(ROOT / "docs" / "configuration.py"))["page"]()
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == made, \
        "a key changed: `make docs` writes the page"
