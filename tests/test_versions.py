# SPDX-License-Identifier: Apache-2.0
"""The tested set lies inside the honest ranges, and is what the tests run on."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = {canonicalize_name(name): version for name, version in
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)}
BY_EXTRA = {extra: [Requirement(line) for line in lines]
            for extra, lines in PROJECT["optional-dependencies"].items()}
RANGES = [Requirement(line) for line in PROJECT["dependencies"]] + [
    one for extra, lines in BY_EXTRA.items() if extra != "gpu"
    for one in lines if one.name != "sst-tf"]


@pytest.mark.parametrize("requirement", RANGES, ids=lambda r: r.name)
def test_pins_lie_inside_the_ranges(requirement):
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("requirement", RANGES, ids=lambda r: r.name)
def test_every_range_has_a_lower_bound(requirement):
    assert any(one.operator in (">=", "==") for one in requirement.specifier)


@pytest.mark.parametrize("name", ["tensorflow", "keras", "numpy", "tf2onnx"])
def test_installed_versions_are_the_tested_ones(name):
    assert metadata.version(name) == PINS[name]


def test_make_installs_every_extra():
    everything = {extra for one in BY_EXTRA["all"] for extra in one.extras}
    assert everything == set(BY_EXTRA) - {"gpu", "all", "dev", "docs", "peers"}  # for authors
    assert any({"all", "docs"} <= one.extras for one in BY_EXTRA["dev"])


@pytest.mark.parametrize("module, extra", EXTRAS.items())
def test_the_extra_that_an_error_names_brings_the_module(module, extra):
    packages = {"tensorflow_serving": "tensorflow-serving-api"}
    names = {canonicalize_name(one.name) for one in BY_EXTRA[extra]}
    assert canonicalize_name(packages.get(module, module)) in names


def test_the_package_and_its_metadata_have_one_version():
    from sst_tf import __version__
    assert PROJECT["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_every_package_is_in_the_wheel():
    """`packages` of pyproject.toml is a list, because configs/ is mapped into it."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(path.parent.relative_to(ROOT).parts) for name in
             ("sst_tf", "pipelines", "export") for path in (ROOT / name).rglob("__init__.py")}
    assert set(listed) == there | {"sst_tf.configs", "sst_tf.configs.experiments"}
