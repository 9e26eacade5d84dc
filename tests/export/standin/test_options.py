# SPDX-License-Identifier: Apache-2.0
"""Options that would do nothing are refused in a line."""

import sys
from types import SimpleNamespace

import pytest

from export import bench, serve


@pytest.fixture
def measured(monkeypatch):
    """Options of each measurement, of which none is made."""
    seen = []
    monkeypatch.setitem(sys.modules, "export.serving_cost", SimpleNamespace(
        measure=lambda folder, options: seen.append(options)))
    return seen


def refused(capsys, main, *words):
    with pytest.raises(SystemExit):
        main(list(words))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


@pytest.mark.parametrize("name", ["sst", "mugs"])
def test_a_name_beside_a_file_of_names(tmp_path, capsys, name):
    (tmp_path / "models.config").touch()
    assert refused(capsys, serve.main, "--model_config_file", str(tmp_path / "models.config"),
                   "--model_name", name).startswith(
        "error: --model_name: goes with --model_base_path")


@pytest.mark.parametrize("words", [
    ["--rounds", "3"], ["--batches", "2", "4"], ["--classes", "2"], ["--variants", "xla"]])
def test_what_the_table_of_clients_has_no_use_for(capsys, measured, words):
    assert refused(capsys, bench.main, "--load_only", *words).startswith(
        f"error: {words[0]}: goes with the table of signatures")
    assert not measured


def test_what_is_measured_unless_told(capsys, measured):
    bench.main([])
    bench.main(["--load_only"])
    bench.main(["--rounds", "1", "--variants", "onnx"])
    assert [(one.rounds, one.batches, one.classes, one.variants) for one in measured] == [
        (3, [1, 8], 8, ["xla", "bfloat16", "onnx"]), (3, [1, 8], 8, []), (1, [1, 8], 8, ["onnx"])]
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    told = capsys.readouterr().out
    assert "(default: 3)" in told and "(default: [1, 8])" in told and "(default: 8)" in told
