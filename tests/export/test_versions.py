# SPDX-License-Identifier: Apache-2.0
"""Numbers of versions."""

import os

import pytest

from export import versions


def test_a_file_of_a_version_s_name_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "1").write_text("not a version")
    tries, rename = [], os.rename

    def counted(*paths):
        tries.append(paths)
        if len(tries) > 5:
            pytest.fail("the same number is tried for ever")
        rename(*paths)

    monkeypatch.setattr(os, "rename", counted)
    with versions.writing(tmp_path) as version:
        (version.folder / "model").touch()
    assert version.folder == tmp_path / "2" and versions.numbers(tmp_path) == [2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
