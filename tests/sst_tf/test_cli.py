# SPDX-License-Identifier: Apache-2.0
"""`sst`: what it offers, what it loads, what it says to a wrong word."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from export import serve
from pipelines import bench_reading
from pipelines import commands as pipeline_commands
from pipelines.errors import UserError
from pipelines.extras import missing_extra
from sst_tf import bench, cli, compare, experiment, report
from sst_tf.config import Config, packaged, parse, parser
from sst_tf.experiments.grid import Experiment

TABLES = cli.commands()
ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {name: module for table in TABLES.values() for name, (module, _) in table.items()}


@pytest.mark.parametrize("module", MODULES.values())
def test_every_command_exists(module):
    assert importlib.util.find_spec(module) is not None


def test_help_has_one_line_a_command(capsys):
    cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    for name in MODULES:
        assert sum(line.split()[:1] == [name] for line in lines) == 1
    assert {"train", "evaluate", "predict", "experiment", "export-onnx", "check"} <= set(MODULES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_commands_that_exist(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|bin/)sst ([a-z][a-z-]*)", text, re.M))
    assert named <= set(MODULES)
    assert named or page.name not in ("README.md", "predict.md")


@pytest.mark.parametrize("name", ["train", "predict", "batch", "prepare"])
def test_help_tells_a_default_once_and_only_where_there_is_one(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    assert "default: null" not in text
    assert not re.search(r"\(default: [^()]*\)\s+\([^()]*default: ", text)
    assert name != "prepare" or all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize(("command", "words", "told"), [
    (experiment, ["table1", "--jobs", "0"], "--jobs 0: expected a number above 0"),
    (experiment, ["table1", "--seeds", "1", "x"], "--seeds x: expected a whole number"),
    (experiment, ["table1", "--gpus", "x"], "--gpus x: expected a number"),
    (compare, ["a", "b", "--shots", "1.5"], "--shots 1.5: expected a whole number"),
    (serve, ["--port", "70000"], "--port 70000: expected a number at least 0 and at most 65535"),
    (bench_reading, ["x", "--rounds", "0"],
     "sst bench-data: error: argument --rounds: 0: expected a whole number, 1 or more"),
    (report, ["run", "--tables", "page.md"], "--tables writes a page's tables anew and no page of "
                                             "runs; leave out the run directories"),
    (report, ["--experiment", "table5", "--profile", "mini", "--experiment_runs", "nowhere"],
     "--experiment_runs nowhere: has no run of these experiments; "
     "sst experiment table5 --profile mini makes them"),
    (report, ["--experiment", "table1", "--tables", "page.md"],
     "--tables writes a page's tables anew and no page of runs; leave out --experiment")])
def test_a_value_that_cannot_be_is_named_in_one_line(capsys, command, words, told):
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].removeprefix("error: ") == told


def test_help_starts_without_tensorflow():
    code = ("import sys; from sst_tf.cli import main; main(['--help']); "
            "assert not {'tensorflow', 'keras', 'numpy', 'cv2'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_of_each_command_starts_without_tensorflow():
    """It takes seconds, and people ask for help while they wait."""
    code = f"""
import contextlib, importlib, io, sys
for module in {list(MODULES.values())}:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    assert text.getvalue().startswith("usage: "), module
    assert "tensorflow" not in sys.modules, module
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def completions(line, tmp_path):
    """What a shell would offer at the end of a line."""
    answer = tmp_path / "answer"
    environment = {**os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_TYPE": "9",
                   "COMP_LINE": line, "COMP_POINT": str(len(line)),
                   "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    result = subprocess.run([sys.executable, "-m", "sst_tf.cli"], env=environment, cwd=tmp_path,
                            capture_output=True, text=True)
    assert result.stdout == "" and sorted(tmp_path.iterdir()) == [answer]  # nothing was run
    return answer.read_text().split()


@pytest.mark.parametrize("line, expected", [
    ("sst ", sorted(MODULES)), ("sst pre", ["predict", "prepare", "preset", "presets"]),
    ("sst predict --pre", ["--preset"]), ("sst train --data.nov", ["--data.novel_split", "--data"]),
    ("sst doctor --j", ["--json"]), ("sst index --", ["--help"])])
def test_shells_complete(line, expected, tmp_path):
    found = completions(line, tmp_path)
    assert found == expected or all(any(one.startswith(x) for one in found) for x in expected)
    assert all(one.startswith(line.split(" ")[-1]) for one in found)


def test_every_command_completes_without_running(tmp_path):
    for name in MODULES:
        assert "--help" in completions(f"sst {name} --", tmp_path), name
        (tmp_path / "answer").unlink()


def test_an_unknown_command_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["trian"])
    assert end.value.code == 2
    assert capsys.readouterr().err == ("error: sst: no command 'trian'; did you mean 'train'? "
                                       "sst --help lists them\n")


def test_a_command_takes_the_rest(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["compare", "--help"])
    assert end.value.code == 0
    assert "--resamples" in capsys.readouterr().out


def test_a_missing_extra_is_one_line(capsys):
    @pipeline_commands.command
    def main(argv=None):
        raise ModuleNotFoundError("No module named 'tf2onnx'", name="tf2onnx.convert")

    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert capsys.readouterr().err == ("error: tf2onnx is missing; it comes with the extra `onnx`: "
                                       "pip install 'sst-tf[onnx]'\n")


def test_a_missing_module_of_no_extra_stays_an_error():
    assert missing_extra(ModuleNotFoundError("No module named 'nobody'", name="nobody")) is None


@pytest.mark.parametrize("name", [path.stem for path in packaged.folder().glob("*.yaml")])
def test_packaged_configurations_are_found_by_name(name):
    path = packaged.find(name)
    config, _ = parse(parser(), [], path) if name == "shapes_small" else (Config(), None)
    assert isinstance(config, Config) and path.endswith(f"{name}.yaml")


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "table5"])
def test_packaged_experiments_are_found_by_name(name):
    assert Experiment.read(packaged.find(name, "experiments"), "mini").rows


def test_paths_stay_as_they_are():
    for path in ("mine.yaml", "configs/mine.yaml", "./shapes_small", "missing.yml"):
        assert packaged.find(path) == path


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="shapes_big: no packaged .* shapes_small"):
        packaged.find("shapes_big")


def test_a_comparison_without_resamples_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        compare.main(["a", "b", "--resamples", "0"])
    assert caught.value.code == 2 and "--resamples" in capsys.readouterr().err


@pytest.mark.parametrize("command, words", [
    (report, ["runs/a", "--side", "0"]), (report, ["runs/a", "--side", "-5"]),
    (bench, ["--image_size", "0"]), (bench, ["--repeats", "0"]), (bench, ["--batch", "0"]),
    (bench, ["--channels", "0"]), (bench, ["--evaluation", "--photos", "0"])])
def test_sizes_and_counts_of_nothing_are_refused(command, words, capsys, monkeypatch):
    monkeypatch.setattr(bench, "_training_step", lambda _: pytest.fail("measured"))
    monkeypatch.setattr(bench, "_evaluation", lambda _: pytest.fail("measured"))
    with pytest.raises(SystemExit) as refused:
        command.main(words)
    told = capsys.readouterr().err
    assert refused.value.code == 2 and words[-2] in told and words[-1] in told
