# SPDX-License-Identifier: Apache-2.0
"""The Python of the documents runs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["pipelines.md"])
def test_python_blocks_run(page):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)  # noqa: S102
    assert len(list(names["test"])) == 5
    assert len(names["episodes_of_bam"]) == 10
    assert next(iter(names["batches"]))["query_image"].shape == (2, 33, 33, 3)
