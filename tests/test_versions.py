"""The tested set lies inside the honest ranges, and is what the tests run on."""

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
RANGES = [Requirement(r) for r in re.findall(
    r'"([a-z0-9-]+(?:\[[a-z-]+\])?[<>=][^"]+)"',
    (ROOT / "setup.py").read_text().replace('python_requires=">=', ""))]


@pytest.mark.parametrize("requirement", RANGES, ids=lambda r: r.name)
def test_pins_lie_inside_the_ranges(requirement):
    if requirement.name not in PINS:
        pytest.skip("an extra that the tested set does not install")
    assert PINS[requirement.name] in requirement.specifier


@pytest.mark.parametrize("name", ["tensorflow", "keras", "numpy", "tf2onnx"])
def test_installed_versions_are_the_tested_ones(name):
    assert metadata.version(name) == PINS[name]
