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


def test_zeros_may_lead_the_number_of_a_version(tmp_path):
    for name in ("00000002", "10", "9", "009", "\u0663"):  # the last is a 3 in Arabic
        (tmp_path / name).mkdir()
    assert list(versions.folders(tmp_path).items()) == [
        (2, tmp_path / "00000002"), (9, tmp_path / "9"), (10, tmp_path / "10")]
    with versions.writing(tmp_path) as version:
        (version.folder / "model").touch()
    assert version.folder == tmp_path / "11"
