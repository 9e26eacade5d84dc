# SPDX-License-Identifier: Apache-2.0
"""Grids of runs: shared trainings, resuming, a failure that costs nothing else, tables."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from pipelines.errors import DataError, UserError
from pipelines.writing import write_json
from sst_tf import experiment
from sst_tf.config import Config, identity
from sst_tf.evaluation import bootstrap
from sst_tf.evaluation.stored import protocol_sha256
from sst_tf.experiments import kept, photos, summary
from sst_tf.experiments.executors import Children, Here
from sst_tf.experiments.grid import Cell, Experiment
from sst_tf.experiments.runner import run_all
from sst_tf.reporting import document, experiment_table
from sst_tf.reporting.generated import block, filled, refresh
from sst_tf.runs.alone import alone
from sst_tf.runs.directory import Run
from tests.pipelines.tiny_voc import write_tiny_voc
from tests.sst_tf.test_commands import QUICK

FILES = sorted((Path(__file__).parents[3] / "configs" / "experiments").glob("*.yaml"))
GRID = {
    "title": "A table", "shots": [1, 2],
    "rows": {"base": {"tuner.steps": 0, "loss.auxiliary": 0}, "both": None,
             "average": {"model.fusion": "average", "model.second_look": 0.3}},
    "differences": [["both", "base"], ["average", "both"]],
    "paper": {"both": {1: [54.4]}},
    "profiles": {"paper": {"base": "base.yaml", "folds": {0: None}, "seeds": [0]},
                 "mini": {"base": "base.yaml", "folds": {
                     "a": {"data.novel_classes": ["cup", "fork"]},
                     "b": {"data.novel_classes": ["cup", "nothing"]}}, "seeds": [0, 1]}}}


def mini(**keys):
    """The experiment file's profiles with other keys in `mini`."""
    return {"profiles": {"mini": {"base": "base.yaml", "folds": {0: None}, "seeds": [0], **keys}}}


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """An experiment file over toy photos, one fold of which must fail."""
    folder = tmp_path_factory.mktemp("grid")
    write_tiny_voc(folder / "data", photos=48, suffix=".jpg")
    keys = {}
    values = [*QUICK, "--evaluate.absent_episodes", "4"]
    for key, value in zip(values[::2], values[1::2], strict=True):
        section, name = key[2:].split(".")
        keys.setdefault(section, {})[name] = yaml.safe_load(value)
    keys["data"] |= {"dataset": "voc", "root": str(folder / "data"), "novel_policy": "keep",
                     "validation_share": 0.4}
    (folder / "base.yaml").write_text(yaml.safe_dump(keys))
    (folder / "t.yaml").write_text(yaml.safe_dump(GRID))
    return folder


def run(folder, *arguments):
    experiment.main([str(folder / "t.yaml"), "--profile", "mini", "--runs", str(folder / "runs"),
                     *arguments])


def test_a_grid_runs_resumes_and_reports(grid, capsys):
    """Rows `both` and `average` share their training; fold b fails and costs fold a nothing."""
    with pytest.raises(SystemExit) as caught:
        run(grid, "--seeds", "0")
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert "6 cells, 4 trainings" in printed.out and "2 run(s) failed" in printed.err
    assert "fold b" in printed.err and "nothing" in printed.err
    text = (grid / "runs" / "t-mini.md").read_text()
    kept = json.loads((grid / "runs" / "t-mini.json").read_text())
    assert document.markdown(experiment_table.parts_of(kept)) == text  # no run is needed for it
    assert kept["hours"]["trainings"] == 2 and all(r["photos"]["train"] for r in kept["runs"])
    assert "| base |" in text and "| average |" in text and "both minus base" in text

    done = {p: p.stat().st_mtime_ns for p in (grid / "runs").rglob("model.keras")}
    assert len(done) == 2
    averaged = list((grid / "runs").rglob("novel_2shot_average_*.json"))
    assert len(averaged) == 1
    protocol = json.loads(averaged[0].read_text())["protocol"]
    assert (protocol["fusion"], protocol["second_look"]) == ("average", 0.3)
    assert (averaged[0].parent / "novel_2shot.json").is_file()
    run(grid, "--seeds", "0", "--folds", "a")  # nothing is missing: nothing runs
    assert {p: p.stat().st_mtime_ns for p in done} == done

    # Kept without weights, the results make the same tables where no run is.
    run(grid, "--seeds", "0", "--folds", "a", "--keep", str(grid / "kept"))
    text = (grid / "runs" / "t-mini.md").read_text()
    (grid / "runs").rename(grid / "elsewhere")
    run(grid, "--seeds", "0", "--folds", "a", "--keep", str(grid / "kept"))
    assert (grid / "runs" / "t-mini.md").read_text() == text
    assert not list((grid / "runs").rglob("model.keras"))
    assert not list((grid / "kept").rglob("*.keras")) and not list(
        (grid / "kept").rglob("*.jsonl"))
    averaged = list((grid / "runs").rglob("novel_2shot_average_*.json"))

    # A part that runs leaves the others in the tables.
    run(grid, "--seeds", "0", "--folds", "a", "--rows", "base", "--keep", str(grid / "kept"))
    assert (grid / "runs" / "t-mini.md").read_text() == text

    # What is there can be tabulated while the rest is missing; nothing is trained for it.
    run(grid, "--tabulate")
    assert "3 of 12 cells are there" in capsys.readouterr().out
    assert "| average |" in (grid / "runs" / "t-mini.md").read_text()

    found = json.loads(averaged[0].with_name("novel_1shot.json").read_text())["presence"]
    assert 0 <= found["base"]["answered_where_absent"] <= 1
    kept = {key.split()[0] for key in Run(averaged[0].parents[1]).presence()}
    assert kept == {"1", "2"}


def test_dry_run_trains_nothing(grid, capsys):
    def files():
        return {path: path.stat().st_mtime_ns for path in grid.rglob("*")}

    before = files()
    run(grid, "--dry_run", "--seeds", "7")
    assert capsys.readouterr().out.count("missing") == 6
    assert files() == before


def test_two_processes_on_one_folder_train_a_run_once(tmp_path):
    """The second waits for the first, sees that nothing is missing and trains nothing."""
    cell = Cells(tmp_path, base=str(tmp_path / "base.yaml")).cells[0]
    (cell.folder / "evaluations").rename(tmp_path / "prepared")
    base, python = tmp_path / "base.yaml", tmp_path / "python"
    base.write_text("")
    python.write_text(f"#!/bin/sh\necho x >> {tmp_path}/trained; sleep 1\n"
                      f"cp -r {tmp_path}/prepared {cell.folder}/evaluations\n")
    python.chmod(0o755)
    with ThreadPoolExecutor(2) as pool:
        failed = list(pool.map(lambda _: run_all([cell], Here(1, str(python))), range(2)))
    assert failed == [{}, {}] and cell.missing() == []
    assert (tmp_path / "trained").read_text().count("x") == 1


def test_a_protocol_is_asked_of_a_run_that_is_trained_without_it(tmp_path):
    """Its training ends with the run's own; the row has it after that, under its own numbers."""
    base, python = tmp_path / "base.yaml", tmp_path / "python"
    base.write_text("evaluate: {episodes: 7}\n")
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({
        "title": "A table", "shots": [1], "rows": {
            "own": None, "pfenet": {"evaluate.protocol": "pfenet", "evaluate.runs": 1}},
        "profiles": {"mini": {"base": "base.yaml", "folds": {0: None}, "seeds": [0]}}}))
    read = Experiment.read(tmp_path / "t.yaml", "mini")
    own, other = read.cells(tmp_path / "runs")
    assert own.folder == other.folder and own.arguments == other.arguments
    assert (own.config.evaluate.episodes, other.config.evaluate.episodes) == (7, None)
    assert (other.config.data.image_size, other.config.data.pair_filter) == (473, "area2048")
    python.write_text(f"#!/bin/sh\necho \"$@\" | tee -a {tmp_path}/commands\n")
    python.chmod(0o755)
    failed = run_all([own, other], Here(1, str(python)))
    assert "ended without results of own (1-shot), pfenet (1-shot); see " in failed[own.folder]
    train, again, evaluate = (tmp_path / "commands").read_text().splitlines()
    assert f"sst_tf.train {base} --run_dir {own.folder} --resume" in train
    assert f"sst_tf.evaluate {own.folder}" in again and "--evaluate.episodes 7" in again
    assert "evaluate.protocol" not in train and f"sst_tf.evaluate {own.folder}" in evaluate
    assert "--evaluate.protocol pfenet" in evaluate and "--evaluate.episodes null" in evaluate
    assert (own.folder / "log.txt").read_text().splitlines() == [train, again, evaluate]


def test_a_run_that_is_trained_anew_is_evaluated_anew(tmp_path, capsys):
    """Three evaluations share a run: one is missing, one is kept, one is kept and not asked for."""
    python, runs = tmp_path / "python", tmp_path / "runs"
    (tmp_path / "base.yaml").write_text("train: {epochs: 1}\n")
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({
        "title": "A table", "shots": [1], "rows": {name: {"model.fusion": name} for name in (
            "weighted", "average", "maximum")},
        "profiles": {"mini": {"base": "base.yaml", "folds": {0: None}, "seeds": [0]}}},
        sort_keys=False))
    cells = Experiment.read(tmp_path / "t.yaml", "mini").cells(runs)
    python.write_text(f"""#!/bin/sh
exec {sys.executable} {Path(__file__).parent / "fake_module.py"} {tmp_path / "commands"} "$@"
""")
    python.chmod(0o755)
    assert run_all(cells[:2], Here(1, str(python))) == {}
    kept.keep(cells, tmp_path / "kept")
    shutil.rmtree(runs)
    kept.restore(cells, tmp_path / "kept")
    assert [cell.missing() for cell in cells] == [[], [], [1]]
    (tmp_path / "commands").unlink()
    assert run_all(cells[2:], Here(1, str(python)), others=cells,
                   done=lambda done: kept.keep(done, tmp_path / "kept")) == {}
    assert [cell.missing() for cell in cells] == [[], [], []]
    assert [line.split()[0] for line in (tmp_path / "commands").read_text().splitlines()] == [
        "sst_tf.train", "sst_tf.evaluate", "sst_tf.evaluate"]
    shutil.rmtree(runs)
    assert [kept.kept_cell(cell, tmp_path / "kept").missing() for cell in cells] == [[], [], []]
    experiment.main([str(tmp_path / "t.yaml"), "--profile", "mini", "--runs", str(runs),
                     "--keep", str(tmp_path / "kept"), "--dry_run"])
    assert "missing" not in capsys.readouterr().out and not runs.exists()


def test_one_training_that_would_count_twice_is_told(grid):
    read = Experiment.read(grid / "t.yaml", "mini")
    with pytest.raises(UserError, match="fold a, seed 0 and fold a, seed 1 are one training; do"):
        read.cells("runs", ["--train.seed", "5"])
    with pytest.raises(UserError, match="fold a, seed 0 and fold b, seed 0 are one training"):
        read.cells("runs", ["--data.novel_classes", "[cup]"])


def test_a_command_names_files_below_this_folder_from_here(tmp_path, monkeypatch):
    """So that a record of it says the same on every machine."""
    (tmp_path / "configs" / "experiments").mkdir(parents=True)
    (tmp_path / "configs" / "small.yaml").write_text("evaluate: {episodes: 7}\n")
    file = tmp_path / "configs" / "experiments" / "t.yaml"
    file.write_text(yaml.safe_dump({
        "title": "A table", "shots": [1], "rows": {"own": None, "other": {"base": "../small.yaml"}},
        "profiles": {"mini": {"base": "../small.yaml", "folds": {0: None}, "seeds": [0]}}}))
    monkeypatch.chdir(tmp_path)
    read = Experiment.read(file, "mini")
    assert (read.base, read.rows["other"]["base"]) == ("configs/small.yaml", "configs/small.yaml")
    monkeypatch.chdir(tmp_path / "configs" / "experiments")
    assert Experiment.read("t.yaml", "mini").base == "../small.yaml"
    assert Experiment.read(file, "mini").base == str(tmp_path / "configs" / "small.yaml")


def test_kept_results_are_not_those_of_a_model_in_training(tmp_path):
    """Results came back without weights, a further evaluation made them anew: killed half-way."""
    base, python = tmp_path / "base.yaml", tmp_path / "python"
    base.write_text("evaluate: {shots: [1]}\n")
    python.write_text(f"#!/bin/sh\necho \"$@\" >> {tmp_path}/commands\n")
    python.chmod(0o755)
    cell = Cells(tmp_path / "runs", base=str(tmp_path / "base.yaml")).cells[0]
    assert cell.missing() == []
    (cell.folder / "model.keras").write_bytes(b"after an epoch")
    assert cell.missing() == [1]
    assert run_all([cell], Here(1, str(python)))  # the fake makes no results
    assert "sst_tf.train" in (tmp_path / "commands").read_text()
    path = cell.folder / "evaluations" / "novel_1shot.json"
    results = json.loads(path.read_text())
    write_json(path, {**results, "model_sha256": Run(cell.folder).model_sha256()})
    epochs = cell.config.train.epochs
    for done, missing in ((epochs - 1, [1]), (epochs, [])):  # results of a model half-way
        (cell.folder / "history.csv").write_text(
            "epoch,seconds\n" + "".join(f"{epoch},1\n" for epoch in range(done)))
        assert cell.missing() == missing
    # Without what it would go on from it can still be asked.
    path.unlink()
    (tmp_path / "commands").unlink()
    run_all([cell], Here(1, str(python)))
    assert (tmp_path / "commands").read_text().startswith("-m sst_tf.evaluate")


def test_kept_results_are_of_one_model(tmp_path):
    cell = Cells(tmp_path / "runs").cells[0]
    (cell.folder / "config.yaml").write_text("")

    def results(name, model, seconds=0):
        path = cell.folder / "evaluations" / f"{name}.json"
        content = json.loads(cell_path.read_text())
        write_json(path, {**content, "model_sha256": model, "seconds": seconds})
        if name != "novel_1shot":
            shutil.copy(cell_path.with_suffix(".npz"), path.with_suffix(".npz"))
        return tmp_path / "kept" / cell.folder.name / "evaluations" / path.name

    cell_path = cell.folder / "evaluations" / "novel_1shot.json"
    kept_own, kept_look = results("novel_1shot", "one"), results("novel_1shot_look", "one")
    kept.keep([cell], tmp_path / "kept")
    assert kept_own.is_file() and kept_look.with_suffix(".npz").is_file()
    # Trained again: what is kept of the model before, and what lies here of it, is no result.
    results("novel_1shot", "two")
    with pytest.raises(UserError, match="results of 2 models"):
        kept.keep([cell], tmp_path / "kept")
    (cell.folder / "evaluations" / "novel_1shot_look.json").unlink()
    (cell.folder / "evaluations" / "novel_1shot_look.npz").unlink()
    write_json(cell.folder / "evaluations" / "support_check.json",
               {"other_class": 0.1, "model_sha256": "one"})
    kept.keep([cell], tmp_path / "kept")
    assert [path.name for path in sorted(kept_own.parent.iterdir())] == [
        "novel_1shot.json", "novel_1shot.npz"]
    # A folder that was brought back, not trained here, follows what is kept.
    content = json.loads(kept_own.read_text())
    write_json(kept_own, {**content, "seconds": 9})
    kept.restore([cell], tmp_path / "kept")
    assert json.loads(cell_path.read_text())["seconds"] == 9
    (cell.folder / "log.txt").write_text("")
    write_json(kept_own, content)
    kept.restore([cell], tmp_path / "kept")
    assert json.loads(cell_path.read_text())["seconds"] == 9


def test_results_of_other_photos_are_told(tmp_path, monkeypatch):
    base = tmp_path / "base.yaml"
    base.write_text("train: {epochs: 1}\n")
    cell = Cells(tmp_path / "runs", base=str(tmp_path / "base.yaml")).cells[0]
    now = {"train": {"voc": 10582}, "validation": {"voc": 90}, "novel": {"voc": 1449},
           "sha256": {"train": "b", "validation": "v", "novel": "n"}}
    monkeypatch.setattr(photos, "open_data",
                        lambda *_, **__: SimpleNamespace(photo_facts=lambda: now))
    photos.refuse_other_photos([cell])  # of an early run, which says nothing
    for then, told in (({}, "10,582 of voc train photos (3,131 of voc then)"),
                       ({"train": {"voc": 10582}, "sha256": {"train": "a"}}, "other train photos"),
                       ({"train": {"voc": 10582}, "novel": {"voc": 100}},
                        "1,449 of voc novel photos (100 of voc then)"),
                       ({"train": {"voc": 10582}, "novel": {"voc": 1449},
                         "sha256": {"novel": "m"}}, "other novel photos")):
        write_json(cell.folder / "photos.json", {
            "train": {"voc": 3131}, "validation": {"voc": 90}, **then})
        with pytest.raises(UserError) as refused:
            photos.refuse_other_photos([cell])
        assert told in str(refused.value) and "--runs" in str(refused.value)
    write_json(cell.folder / "photos.json", {**now, "sha256": {}})
    photos.refuse_other_photos([cell])

    def nowhere(*_, **__):
        raise DataError("no photos here")
    monkeypatch.setattr(photos, "open_data", nowhere)
    write_json(cell.folder / "photos.json", {"train": {"voc": 3131}})
    photos.refuse_other_photos([cell])


def test_a_copy_that_was_killed_is_made_again(tmp_path, monkeypatch):
    cell = Cells(tmp_path / "runs").cells[0]
    (cell.folder / "config.yaml").write_text("")
    kept.keep([cell], tmp_path / "kept")
    shutil.rmtree(cell.folder)
    real = kept.replacing

    def killed(path):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        return real(path)
    monkeypatch.setattr(kept, "replacing", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.restore([cell], tmp_path / "kept")
    assert list(cell.folder.rglob("*.npz")) and cell.missing() == [1]
    monkeypatch.undo()
    kept.restore([cell], tmp_path / "kept")
    assert cell.missing() == []


def test_a_lost_machine_costs_its_run_alone(tmp_path):
    class Lost:
        def submit(self, cells):
            future = Future()
            if cells[0].row == "bad":
                future.set_exception(RuntimeError("The node died.\nIt had been preempted."))
            else:
                future.set_result(None)
            return future

        def stop(self):
            raise AssertionError("the others go on")

    cells = [one for one in Cells(tmp_path).cells if one.fold == "0"]
    for one in cells:
        (one.folder / "evaluations" / "novel_1shot.json").unlink()
    told = run_all(cells, Lost())
    assert told == {cells[1].folder: "bad, fold 0, seed 0: It had been preempted."}


def test_a_row_may_have_a_base_and_seeds_of_its_own(tmp_path):
    for name, channels in (("base", 8), ("wide", 16)):
        (tmp_path / f"{name}.yaml").write_text(f"model: {{channels: {channels}}}\n")
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({
        "title": "A table", "shots": [1], "rows": {"plain": {"model.dropout": 0.25}},
        "profiles": {"mini": {
            "base": "base.yaml", "folds": {0: None}, "seeds": [0, 1], "rows": {
                "plain": {"model.comparator": "concatenate"},
                "wide": {"base": "wide.yaml", "seeds": [0]}}}}}))
    cells = Experiment.read(tmp_path / "t.yaml", "mini").cells("runs")
    assert [(c.row, c.seed, c.config.model.channels, Path(c.base).stem) for c in cells] == [
        ("plain", 0, 8, "base"), ("plain", 1, 8, "base"), ("wide", 0, 16, "wide")]
    plain = cells[0].config.model  # what the profile says comes on top of what the row says
    assert (plain.dropout, plain.comparator) == (0.25, "concatenate")


def test_children_stop_with_their_parent(tmp_path):
    children, log = Children(), tmp_path / "log.txt"
    started = time.time()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(children.run, ["sleep", "60"], log, dict(os.environ))
        while not children._running:
            time.sleep(0.01)
        children.stop()
        assert waiting.result() == -signal.SIGTERM
    assert children.run(["sleep", "60"], log, dict(os.environ)) == -signal.SIGTERM
    assert time.time() - started < 30


@pytest.mark.slow
def test_ray_runs_a_grid_and_stops_it(tmp_path):
    """One run is there at the end, one fails with its reason, one is stopped with the grid."""
    from sst_tf.experiments.on_ray import OnRay
    from sst_tf.runs.ray_cluster import cluster

    base, python = tmp_path / "base.yaml", tmp_path / "python"
    base.write_text("")
    cells = Cells(tmp_path, base=str(tmp_path / "base.yaml")).cells
    first, second = cells[0], next(cell for cell in cells if cell.folder != cells[0].folder)
    for cell in (first, second):
        (cell.folder / "evaluations").rename(cell.folder.with_suffix(".prepared"))
    python.write_text(f"""#!/bin/sh
case "$*" in *{first.folder}*) cp -r {first.folder}.prepared {first.folder}/evaluations;;
*) echo no such photo; exit 2;; esac
""")
    python.chmod(0o755)
    with cluster(None, 2):
        failed = run_all([first, second], OnRay(1, python=str(python)))
        assert first.missing() == [] and list(failed) == [second.folder]
        assert "no such photo" in failed[second.folder]
        python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid; exec sleep 300\n")
        executor = OnRay(1, python=str(python))
        executor.submit([second])
        deadline = time.time() + 60
        while not (tmp_path / "pid").exists():
            assert time.time() < deadline
            time.sleep(0.1)
        executor.stop()
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path, capsys):
    """A runner was killed and started again; what it had started still trains."""
    events = []

    def second():
        with alone(tmp_path / "run", wait=True):
            events.append("second")

    with ThreadPoolExecutor(1) as pool:
        with alone(tmp_path / "run", wait=True):
            waiting = pool.submit(second)
            while "another process trains this run" not in capsys.readouterr().err:
                time.sleep(0.01)
            events.append("first")
        waiting.result()
    assert events == ["first", "second"]


def test_a_second_trainer_that_does_not_resume_is_refused(tmp_path):
    with alone(tmp_path / "run", wait=False):
        with pytest.raises(UserError, match=r"run: another process trains this run; --resume wa"):
            with alone(tmp_path / "run", wait=False):
                pass
    with alone(tmp_path / "run", wait=False):  # its lock was not left behind
        pass


def test_keys_tell_trainings_apart(grid):
    cells = Experiment.read(grid / "t.yaml", "mini").cells("runs")
    keys = {(c.row, c.fold, c.seed): c.folder.name for c in cells}
    assert keys["both", "a", 0] == keys["average", "a", 0]
    assert len(set(keys.values())) == 8  # two switches, two folds, two seeds
    other = Experiment.read(grid / "t.yaml", "mini").cells(
        "runs", ["--evaluate.episodes", "9", "--data.root", "elsewhere/data"])
    assert [c.folder for c in other] == [c.folder for c in cells]
    other = Experiment.read(grid / "t.yaml", "mini").cells("runs", ["--model.weights", "x.npz"])
    assert not {c.folder for c in other} & {c.folder for c in cells}


@pytest.mark.parametrize("change, reason", [
    ({"tilte": "x"}, "unknown key tilte"), ({"shots": None, "rows": None}, "is missing"),
    ({"differences": [["both", "none"]]}, "no row 'none'"),
    ({"profiles": ["mini"]}, "profiles: names with keys and values expected, not"),
    (mini(seeds=3), "profiles.mini.seeds: a list of .*such as .0, 1., expected, not 3"),
    (mini(seeds=[]), r"profiles.mini.seeds: .* not \[\]"), (mini(seeds=[0, 0]), "of different"),
    (mini(seeds=[True]), "mini.seeds: "), (mini(base=None), "mini.base: the path .*not None"),
    (mini(folds={}), "mini.folds: one fold or more, .*not {}"),
    (mini(folds={0: 1}), "mini.folds.0: keys of a configuration and their values expected, not 1"),
    (mini(folds={0: {1: 2}}), "mini.folds.0: keys"), (mini(overrides=None), "mini.overrides: "),
    (mini(rows={"a": {"seeds": "01"}}), "mini.rows.a.seeds: a list .*not '01'"),
    (mini(shots=[0]), "mini.shots: a list of different whole numbers from 1 on"),
    (mini(beside_paper="yes"), "mini.beside_paper: true or false expected, not 'yes'"),
    ({"profiles": {**GRID["profiles"], "real": "x"}}, "profiles.real.keys are expected"),
    ({"rows": {"both": {"seeds": 3}}}, "t.yaml: rows.both.seeds: a list .*not 3"),
    ({"rows": {"both": {"base": None}}}, "rows.both.base: the path"),
    ({"rows": {}, "differences": []} | mini(), "rows: name one or more"),
    ({"rows": {1: None}}, "rows: names with keys"), ({"title": 3}, "title: a text expected, not 3"),
    ({"shots": []}, "shots: a list"), ({"shots": "15"}, "shots: a list of .*not '15'"),
    ({"differences": [[["both"]]]}, "differences: a list of pairs of rows, .*not"),
    ({"differences": [["both", "base", "average"]]}, "differences: a list of pairs"),
    ({"differences": [1]}, "differences: a list of pairs"),
    ({"paper": {"both": 5}}, "paper.both: shots and a list of numbers for each, .*not 5"),
    ({"paper": {"both": {1: 5}}}, "paper.both: shots"),
    ({"published": {"other": {1: ["5"]}}}, "published.other: shots"),
    ({"paper": {"both": {1: [1, 2]}}} | mini(beside_paper=True, folds={"a": None, "b": None}),
     r"paper.both.1: 1 number expected \(the mean\), or 3 \(of each fold of profile mini"),
    ({"published": {"both": {1: [1, 2, 3]}}} | mini(beside_paper=True), "published.both.1: 1 num"),
    ({"paper_photos": "10,582"}, "paper_photos: a whole number, such as 10582 .*not '10,582'"),
    ({"paper_notes": {"both": 50}}, "paper_notes: a text for each row"),
    ({"profiles": {"mini": {}}}, "profiles.mini.base is missing"),
    ({"profiles": {"mini": "x"}}, "profiles.mini.keys are expected"),
    ({"rows": {"both": ["x"]}}, "rows.both: keys of a configuration")])
def test_wrong_files_name_the_key(grid, tmp_path, change, reason):
    content = {k: v for k, v in {**GRID, **change}.items() if v is not None}
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=reason):
        Experiment.read(path, "mini")


def test_wrong_choices_are_told(grid, tmp_path):
    with pytest.raises(UserError, match="no profile 'maxi'; known: mini, paper|paper, mini"):
        Experiment.read(grid / "t.yaml", "maxi")
    with pytest.raises(SystemExit):
        run(grid, "--rows", "none")
    with pytest.raises(UserError, match="No such file"):
        Experiment.read(tmp_path / "no.yaml", "mini")


@functools.cache
def cells_of(path, profile):
    """Of a file in configs/experiments; seconds for all of them."""
    return Experiment.read(path, profile).cells("runs")


@pytest.mark.parametrize("path, profile", [
    (path, profile) for path in FILES for profile in yaml.safe_load(path.read_text())["profiles"]],
    ids=lambda value: getattr(value, "stem", value))
def test_the_paper_s_tables_resolve(path, profile):
    """Every key of every cell is known, and the paper's numbers are as many as the folds."""
    found = Experiment.read(path, profile)
    assert cells_of(path, profile) and found.source and found.expect
    for row, values in found.paper.items():
        assert row in found.rows
        assert all(len(v) in (1, len(found.folds) + 1) for v in values.values())


def test_the_docs_count_the_trainings():
    """The table of docs/experiments.md against the cells of each file and profile."""
    docs = Path(__file__).parents[3] / "docs" / "experiments.md"
    folders, backbones = {}, {}
    for path in FILES:
        for profile in yaml.safe_load(path.read_text())["profiles"]:
            cells = cells_of(path, profile)
            folders[path.stem, profile] = {one.folder for one in cells}
            for one in cells:
                backbones.setdefault((path.stem, profile, one.config.model.backbone),
                                     set()).add(one.folder)
    counted = set()
    for line in docs.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `"):
            continue
        names, _, *columns = (text.strip() for text in line.strip("|").split("|"))
        for name, (profile, cell) in itertools.product(
                re.findall(r"(\w+)\.yaml", names),
                zip(("paper", "real", "mini"), columns, strict=True)):
            assert bool(cell) == ((name, profile) in folders), line
            if not cell:
                continue
            counted.add((name, profile))
            first = folders["table1", profile] if name != "table1" else set()
            mine = folders[name, profile]
            if "beside table 1's" in cell or cell == "shared with table 1":
                mine = mine - first
            numbers = re.findall(r"(?<![-\w])(?<!table )\d+(?= o[fn] | beside|,|$)", cell)
            assert sum(map(int, numbers)) == len(mine), (name, profile, cell)
            if cell.endswith("shared with table 1"):
                assert not mine - first
            for number, depth in re.findall(r"(\d+) of ResNet-(\d+)", cell):
                assert len(backbones[name, profile, f"resnet{depth}"]) == int(number)
    assert counted == set(folders)


class Cells:
    """Two rows on two folds: `good` is right everywhere, `bad` on every second episode.

    In each further seed `bad` is right on two episodes more.
    """

    def __init__(self, folder, seeds=1, base="x"):
        self.cells = []
        for row, fold, seed in itertools.product(("good", "bad"), ("0", "1"), range(seeds)):
            run = folder / f"{row}{fold}" / (str(seed) if seed else "")
            path = run / "evaluations" / "novel_1shot.json"
            write_json(path, {"protocol": {
                "sha256": protocol_sha256(identity(Config()), 1)} | {
                key: "x" for key in ("dataset", "novel_classes", "split", "shots",
                                     "image_size", "resize", "scoring", "episodes_sha256")}})
            union = np.full(40, 10)
            right = (np.arange(40) % 2 == 0) | (row == "good")
            right[1:4 * seed:4] = right[39:max(39 - 4 * seed, 0):-4] = True
            inter = np.where(right, 10, 0)
            np.savez(path.with_suffix(".npz"), class_ids=np.repeat([1, 2], 20), photos=np.array(
                [[f"q{i}", f"s{i}"] for i in range(40)]), tuned_half=[inter, union],
                tuned_chosen=[inter, union])
            self.cells.append(Cell(row, fold, seed, [], Config(), run, [1], base))


def test_intervals_over_seeds(tmp_path):
    grid = summary.Grid(Cells(tmp_path, 3).cells[::-1], 1)
    assert grid.seeds == [0, 1, 2]
    low, high, count = grid.over_seeds("good", "bad", "half")
    values = [0.5, 0.45, 0.4]  # of 40 episodes 20, 18 and 16 are wrong
    reach = 4.303 * np.std(values, ddof=1) / np.sqrt(3)
    assert (low, high, count) == (pytest.approx(0.45 - reach, abs=1e-4),
                                  pytest.approx(0.45 + reach, abs=1e-4), 3)
    assert summary.Grid(Cells(tmp_path).cells, 1).over_seeds("good", "bad", "half") is None


def test_intervals_over_more_than_ten_seeds(tmp_path):
    low, high, count = summary.Grid(Cells(tmp_path, 12).cells, 1).over_seeds(
        "good", "bad", "half")
    values = [0.5 - 0.05 * min(seed, 10) for seed in range(12)]  # after ten, `bad` is right
    reach = 2.20099 * np.std(values, ddof=1) / np.sqrt(12)  # t of 11 degrees of freedom, 97.5 %
    assert (low, high, count) == (pytest.approx(np.mean(values) - reach, abs=1e-4),
                                  pytest.approx(np.mean(values) + reach, abs=1e-4), 12)


def test_a_mean_is_of_the_seeds_that_all_folds_have(tmp_path):
    cells = Cells(tmp_path, 2).cells
    partly = [one for one in cells if (one.row, one.fold, one.seed) != ("bad", "1", 1)]
    grid = summary.Grid(partly, 1)
    assert (grid.whole_seeds("good"), grid.whole_seeds("bad")) == ([0, 1], [0])
    assert grid.over_folds("bad", "half")[0] == pytest.approx(0.5)  # seed 1 is right more often
    assert summary.Grid(cells, 1).over_folds("bad", "half")[0] > 0.5
    assert grid.mean("bad", "0", "half")[1] > 0  # a fold tells all its seeds
    # A difference is that of the means beside it.
    assert grid.difference("good", "bad", "half")[::2] == (0.5, {"0": [0.5], "1": [0.5]})
    never = [one for one in cells if (one.row, one.fold) != ("bad", "1")]
    assert summary.Grid(never, 1, ["0", "1"]).over_folds("bad", "half") == (None, None)


def test_tables_average_folds_and_pair_episodes(tmp_path):
    grid = summary.Grid(Cells(tmp_path).cells, 1)
    assert grid.over_folds("good", "half") == (1.0, [1.0, 1.0])
    mean, (low, high) = grid.over_folds("bad", "half")
    assert mean == pytest.approx(0.5) and low < 0.5 < high
    mean, (low, high), folds = grid.difference("good", "bad", "half")
    assert mean == pytest.approx(0.5) and 0.2 < low < 0.5 < high < 0.8
    assert list(folds) == ["0", "1"]
    assert bootstrap.interval(np.arange(101)) == [2.5, 97.5]
    assert grid.episodes() == "Episodes a fold: 40 of 80 photos."


def test_both_rows_of_a_pair_are_resampled_alike(tmp_path):
    """So that rows of equal counts differ in no resample, however much each varies."""
    cells = Cells(tmp_path).cells
    twins = [dataclasses.replace(one, row="twin") for one in cells if one.row == "bad"]
    found = summary.Grid([*cells, *twins], 1).difference("twin", "bad", "half")
    assert found == (0, [0, 0], {"0": [0], "1": [0]})


def test_a_difference_over_some_folds_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(summary.Grid, "fb_iou", lambda *_: None)
    cells = Cells(tmp_path).cells
    asked = SimpleNamespace(rows={"good": {}, "bad": {}}, differences=[["good", "bad"]])
    for there, words in ((cells, "good minus bad: +50.0 points"),
                         (cells[:-1], "good minus bad (1 of 2 folds): +50.0 points")):
        table = summary._table(asked, summary.Grid(there, 1, ["0", "1"]), 1, "half")
        assert list(experiment_table._differences(table))[0].startswith(words)


def test_what_was_not_unseen_stands_below_the_table():
    """Where a results file says it, and only there."""
    said = {"select_on": "novel", "seen_in_training": ["cup"], "episodes_sha256": "x"}
    results = {"protocol": said, "support_iou": {}, "scores": {"tuned": {
        "threshold": {"chosen": 0.5}, "per_class": {"cup": {"iou": 0.25}, "fork": {"iou": None}}}}}
    found = summary._gauges(results)
    assert found["per_class"] == {"cup": 0.25, "fork": None}
    plain = {"protocol": {"select_on": "base", "seen_in_training": [], "episodes_sha256": "x"}}
    assert "reservations" not in summary._gauges({**results, **plain})
    kept = json.loads(json.dumps(KEPT))
    text = document.markdown(experiment_table.parts_of(kept))
    for run in kept["runs"][:2]:
        run["evaluations"]["1"]["reservations"] = found["reservations"]
    more = document.markdown(experiment_table.parts_of(kept))
    for line in ("- both had its epoch chosen on novel classes (train.select_on): fold 0, 1 of "
                 "seed 0\n", "- both was trained on cup: fold 0, 1 of seed 0\n"):
        assert more.count(line) == 2 and line not in text  # below each of the two tables


def test_damaged_files_of_a_run_are_told(tmp_path):
    cell = Cells(tmp_path / "runs").cells[0]
    (cell.folder / "config.yaml").write_text("")
    path = cell.folder / "evaluations" / "support_check.json"
    for content in ('{"other_class": 0.', "[]", '{"model_sha256": null}', '{"other_class": "x"}'):
        path.write_text(content)
        with pytest.raises(DataError, match=f"{path}: damaged .*remove it: the table"):
            summary._wrong_support(Run(cell.folder), cell.config, {})
    path.write_text('{"other_class": 0.')
    with pytest.raises(DataError, match=f"{path}: damaged"):
        kept.keep([cell], tmp_path / "kept")
    path.unlink()
    counts = path.with_name("novel_1shot.npz")
    counts.write_bytes(counts.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{counts}: damaged"):
        kept.keep([cell], tmp_path / "kept")


KEPT = {
    "title": "A table", "source": "", "protocol": "", "expect": "", "paper_photos": 10582,
    "paper_notes": {"FWB": "ResNet-101"},
    "paper": {"both": {"1": {"0": 54.4, "mean": 57.4}}, "FWB": {"1": {"mean": 56.2}}},
    "hours": {"trainings": 2, "training": 1.5},
    "runs": [{"row": "both", "fold": fold, "seed": seed, "run": "x", "minutes": 45.0 + 9 * seed,
              "highest_loss": 0.6 + int(fold) + 5 * seed,
              "photos": {"train": {"voc": 1000 + 500 * int(fold), "mini80": 80}},
              "other_class": 0.25, "evaluations": {"1": {
                  "support_iou": {"before": 0.5, "after": 0.52}, "chosen": 0.55,
                  "presence_auc": 0.71 - seed / 2}}} for fold, seed in (
                      ("0", 0), ("1", 0), ("0", 1))],  # seed 1 lacks a fold
    "tables": [{"shots": 1, "point": point, "seeds": [0], "episodes": "Episodes a fold: 9.",
                "rows": {"both": {"folds": {"0": {"mean": 0.4, "sd": None},
                                            "1": {"mean": 0.5, "sd": None}},
                                  "mean": 0.45, "mean_seeds": [0], "over_photos": [0.4, 0.5],
                                  "over_seeds": None, "fb_iou": 0.7}},
                "differences": []} for point in ("half", "chosen")]}


def test_tables_of_a_page_are_made_of_kept_results(tmp_path):
    """The paper's numbers beside ours, with interval and training photos; nothing else changes."""
    write_json(tmp_path / "t.json", KEPT)
    page = tmp_path / "page.md"
    page.write_text("# By hand\n\n<!-- results: t 1 half -->\nstale\n<!-- end -->\n\nBy hand.\n")
    assert refresh(page, tmp_path) == ["t 1 half"]
    text = page.read_text()
    assert text.startswith("# By hand\n\n<!-- results: t 1 half -->\n\n1-shot, mIoU at 0.5:\n\n")
    assert text.endswith("\n<!-- end -->\n\nBy hand.\n") and "stale" not in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["", "fold 0", "fold 1", "mean", "95 % over photos", "FB-IoU", "trained on"]
    assert rows[2:] == [
        ["both", "40.0", "50.0", "45.0", "40.0 .. 50.0", "70.0", "1,080 to 1,580 photos"],
        ["both, the paper's", "54.4", "", "57.4", "", "", "10,582 photos"],
        ["FWB, the paper's (ResNet-101)", "", "", "56.2", "", "", "10,582 photos"]]
    assert filled(text, tmp_path) == text  # as a test of the page compares them
    everything = block("t", tmp_path)
    assert everything.count("1-shot") == 2 and "2 trainings took 1.5 hours" in everything
    assert "fold 1 1,500 of voc + 80 of mini80" in everything
    gauges = block("t gauges", tmp_path)
    assert gauges.startswith("Gauges, means over folds and seeds:")
    assert "| both | 0, 1 of seed 0 | 1 | 0.50, 0.52 | 0.25 | 0.55 | 0.71 | 1.60 | 45.0 |" in gauges


def test_blocks_that_cannot_be_filled_are_told(tmp_path):
    write_json(tmp_path / "t.json", KEPT)
    for words, match in (("u", "no such results; known: t"), ("t 5", "has no such table")):
        with pytest.raises(DataError, match=match):
            filled(f"<!-- results: {words} -->\n<!-- end -->\n", tmp_path)
    with pytest.raises(DataError, match="1 blocks of results are opened, 0 closed"):
        filled("<!-- results: t -->\n", tmp_path)
    for content in ('{"tables": [', '{"rows": []}', "[]"):
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(DataError, match="t.json: damaged .*sst experiment --output"):
            filled("<!-- results: t -->\n<!-- end -->\n", tmp_path)


def test_the_page_of_results_shows_what_was_kept():
    """docs/results.md has its tables from docs/results, every one of them."""
    docs = Path(__file__).parents[3] / "docs"
    text = (docs / "results.md").read_text(encoding="utf-8")
    assert filled(text, docs / "results") == text
    for path in (docs / "results").glob("*.json"):
        assert f"<!-- results: {path.stem}" in text, path


def test_unequal_protocols_are_refused(tmp_path):
    cells = Cells(tmp_path).cells
    path = tmp_path / "bad1" / "evaluations" / "novel_1shot.json"
    content = json.loads(path.read_text())
    content["protocol"]["image_size"] = 473
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="differ in image_size"):
        summary.Grid(cells, 1)


@pytest.mark.parametrize("key, values, told", [
    ("photos_sha256", ("one", "two"), "differ in photos_sha256"),
    ("photos_sha256", ("one", None), None)])  # an early version does not say
def test_results_on_other_photos_are_not_compared(key, values, told, tmp_path):
    cells = Cells(tmp_path).cells
    for row, value in zip(("good", "bad"), values, strict=True):
        path = tmp_path / f"{row}1" / "evaluations" / "novel_1shot.json"
        content = json.loads(path.read_text())
        content["protocol"] |= {key: value} if value else {}
        path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=told) if told else contextlib.nullcontext():
        summary.Grid(cells, 1)


def test_two_models_of_one_run_are_not_compared(tmp_path):
    cells = Cells(tmp_path).cells
    one, other = ({"model_sha256": model} for model in ("one", "two"))
    pairs = [(cells[0], SimpleNamespace(results=one)), (cells[1], SimpleNamespace(results=other))]
    summary._refuse_two_models(pairs)  # two runs
    cells[1].folder = cells[0].folder
    with pytest.raises(UserError, match="of two models"):
        summary._refuse_two_models(pairs)
