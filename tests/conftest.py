# SPDX-License-Identifier: Apache-2.0
"""Where shared reference data is, and a reason to skip where it is not."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
LONGEST = ("test_grid.py", "test_commands.py", "test_docs.py")


@pytest.fixture(scope="session")
def shared():
    """Folder of reference data: SST_SHARED, or `shared` beside the project."""
    folder = Path(os.environ.get("SST_SHARED") or Path(__file__).parents[2] / "shared")
    if not (folder / "fixtures.json").is_file():
        pytest.skip("reference data is not beside the project (set SST_SHARED)")
    return folder


@pytest.fixture(scope="session")
def fixtures(shared):
    return json.loads((shared / "fixtures.json").read_text(encoding="utf-8"))


def pytest_collection_modifyitems(items):
    """The longest files first: at the end one process would be alone with them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_terminal_summary(terminalreporter):
    """How many blocks of README and docs the tests run; what a worker prints is not shown."""
    reports = (one for many in terminalreporter.stats.values() for one in many)
    if any("tests/test_docs.py" in getattr(one, "nodeid", "") for one in reports):
        from tests import doc_blocks

        run, marked = doc_blocks.count()
        terminalreporter.write_line(f"blocks of Python and shell in README and docs: {run} run, "
                                    f"{marked} are marked with the reason")
