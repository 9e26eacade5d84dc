# SPDX-License-Identifier: Apache-2.0
"""Results files: no trial takes the place of another evaluation, no reader takes it for one."""

import json
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from pipelines.errors import UserError
from pipelines.writing import write_json
from sst_tf import compare, evaluate
from sst_tf import config as configuration
from sst_tf.config import Config, DataConfig
from sst_tf.data.run_data import RunData
from sst_tf.evaluation import stored
from sst_tf.evaluation.evaluate_run import seen_in_training
from sst_tf.experiments.grid import Cell
from sst_tf.reporting import after_training
from sst_tf.reporting.report_page import Subject, _facts
from sst_tf.runs.directory import Run
from tests.export.conftest import make_run

pytestmark = pytest.mark.usefixtures("kept_models")

OWN = ["--evaluate.episodes", "8", "--evaluate.shots", "[1]", "--evaluate.resamples", "20",
       "--evaluate.threshold_episodes", "6", "--evaluate.absent_episodes", "0"]
TRIAL = ["--evaluate.episodes", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose own protocol is `OWN`, evaluated under it and in a trial of four episodes."""
    run = make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=33, count=120))
    run = Run.create(run.folder, run.config(OWN))
    for epoch in range(run.config().train.epochs):
        run.append_history({"epoch": epoch, "seconds": 1})
    evaluate.main([str(run.folder)])
    evaluate.main([str(run.folder), *TRIAL])
    return run


def cell(run, *overrides):
    return Cell("row", "0", 0, [], run.config(overrides), run.folder, [1], "x")


def test_a_trial_has_a_file_of_its_own(run):
    own = json.loads(run.evaluation_path("novel_1shot").read_text())["protocol"]
    assert own["episodes"] == 8
    trial, = (path for path in run.evaluation_path("x").parent.glob("novel_1shot_*.json"))
    trial_protocol = json.loads(trial.read_text())["protocol"]
    assert trial_protocol["episodes"] == 4 and trial.stem.endswith(trial_protocol["sha256"])
    assert stored.Evaluation(run.folder, 1).results["protocol"] == own
    assert stored.Evaluation(run.folder, 1, config=run.config(TRIAL)).results["protocol"][
        "episodes"] == 4
    with pytest.raises(UserError, match="differ in episodes_sha256"):
        stored.refuse_unequal([stored.Evaluation(run.folder, 1, name) for name in (
            "novel_1shot", trial.stem)])


@pytest.mark.parametrize("key, value", [("split_seed", "7"), ("validation_share", "0.3")])
def test_photos_that_were_trained_on_choose_no_threshold(run, capsys, key, value):
    before = run.thresholds()
    with pytest.raises(SystemExit):
        evaluate.main([str(run.folder), f"--data.{key}", value])
    assert f"--data.{key} {value}: the run was trained with" in capsys.readouterr().err
    assert run.thresholds() == before


@pytest.mark.parametrize("key, value", [("select_on", "novel"), ("seed", "7"), ("batch", "9")])
def test_no_key_of_training_is_told_of_a_trained_model(run, capsys, key, value):
    with pytest.raises(SystemExit):
        evaluate.main([str(run.folder), f"--train.{key}", value])
    assert f"--train.{key} {value}: the run was trained with" in capsys.readouterr().err


def test_evaluations_of_one_run_are_paired(run, tmp_path, capsys):
    run = Run(shutil.copytree(run.folder, tmp_path / "run"))
    evaluate.main([str(run.folder), "--evaluate.flip", "true"])
    mirrored, = run.evaluation_path("x").parent.glob("novel_1shot_views1flip_*.json")
    capsys.readouterr()
    names = ["--names", "novel_1shot", "novel_1shot_views1flip"]
    compare.main([str(run.folder), *names, "--json"])
    told = json.loads(capsys.readouterr().out)
    plain, other = (json.loads(path.read_text())["scores"]["tuned"]["miou"]
                    for path in (run.evaluation_path("novel_1shot"), mirrored))
    half = told["differences"][0]
    assert (half["run"], half["against"]) == (names[2], names[1])
    assert half["difference"] == pytest.approx(other - plain) and other != plain
    trial, = run.evaluation_path("x").parent.glob("novel_1shot_????????.json")
    for wrong, reason in (([names[1], trial.stem],
                           f"{trial.stem} and novel_1shot differ in episodes_sha256"),
                          ([*names[1:], "--name", "x"], "--names: evaluations of one run")):
        with pytest.raises(SystemExit):
            compare.main([str(run.folder), "--names", *wrong])
        assert reason in capsys.readouterr().err


def test_a_half_trained_run_is_told_as_such(run, tmp_path, capsys):
    half = Run(shutil.copytree(run.folder, tmp_path / "half"))
    whole = len(half.history())
    written = configuration.read_yaml(half.folder / "config.yaml")
    written["train"]["epochs"] = whole + 3
    (half.folder / "config.yaml").write_text(yaml.safe_dump(written))
    compare.main([str(half.folder), str(run.folder)])
    told = f"{half.folder}: not trained to its end, {whole} of {whole + 3} epochs"
    assert capsys.readouterr().err.splitlines().count(f"note: {told}") == 1
    assert half.unfinished() and run.unfinished() is None


@pytest.mark.parametrize("option", [["--name", "novel_1shot"], ["--names", "novel_1shot"]])
def test_shots_beside_a_name_are_refused(run, capsys, option):
    with pytest.raises(SystemExit):
        compare.main([str(run.folder), "--shots", "5", *option])
    assert "leave out --shots" in capsys.readouterr().err


def test_runs_of_one_name_are_told_apart(run, tmp_path, capsys):
    folders = [shutil.copytree(run.folder, tmp_path / part / "same") for part in ("a", "b")]
    compare.main([*map(str, folders), "--json"])
    assert list(json.loads(capsys.readouterr().out)["runs"]) == ["a/same", "b/same"]
    compare.main([str(run.folder), str(folders[0])])
    told = capsys.readouterr().out
    assert "same" in told and "a/same" not in told


def test_a_second_look_that_a_run_is_given_makes_its_own_scores(run, tmp_path):
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    path = other.folder / "config.yaml"
    path.write_text(path.read_text().replace("second_look: 0.0", "second_look: 0.3"))
    assert other.config().model.second_look == 0.3
    assert stored.own_results(other, 1) is None and cell(other).missing() == [1]
    evaluate.main([str(other.folder)])
    assert stored.own_results(other, 1) == other.evaluation_path("novel_1shot")
    assert cell(other).missing() == [] == cell(run).missing()
    assert cell(other, "--model.second_look", "0.0").missing() == [1]


def test_a_grid_takes_its_own_protocol_only(run, tmp_path):
    assert cell(run).missing() == [] and cell(run, *TRIAL).missing() == []
    assert cell(run, "--evaluate.seed", "4").missing() == [1]
    assert cell(run, "--model.fusion", "average").missing() == [1]
    assert cell(run, "--model.second_look", "0.3").missing() == [1]


def test_a_trial_in_the_place_of_the_own_results_is_told(run, tmp_path, capsys):
    """As earlier versions left it: a trial of four episodes under the plain name."""
    other = Run.create(tmp_path / "other", run.config())
    trial, = run.evaluation_path("x").parent.glob("novel_1shot_*.json")
    for suffix in (".json", ".npz"):
        path = other.evaluation_path("novel_1shot").with_suffix(suffix)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(trial.with_suffix(suffix).read_bytes())
    path = other.evaluation_path("novel_1shot")
    results = stored.read_results(path)
    del results["protocol"]["sha256"]
    for kept in (results, {k: v for k, v in results.items() if k != "config"}):
        write_json(path, kept)
        assert cell(other).missing() == [1]
        with pytest.raises(SystemExit):
            compare.main([str(other.folder), str(other.folder)])
        assert "of another protocol than the run's own" in capsys.readouterr().err
        assert cell(other, *TRIAL).missing() == []  # as what it is it counts


def test_results_of_another_model_are_told(run, tmp_path, capsys):
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    assert stored.own_results(other, 1)
    with zipfile.ZipFile(other.model_path, "a") as file:
        file.writestr("note", "trained on")
    assert stored.own_results(other, 1) is None and cell(other).missing() == [1]
    name, = (path.stem for path in other.evaluation_path("x").parent.glob("novel_1shot_*.json"))
    for words in ([], ["--name", name]):
        with pytest.raises(SystemExit):
            compare.main([str(other.folder), str(run.folder), *words])
        assert "of another model" in capsys.readouterr().err


@pytest.mark.parametrize("lost", stored.COUNTS)
def test_counts_that_lack_an_array_are_damaged(run, tmp_path, lost, capsys):
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    path = other.evaluation_path("novel_1shot").with_suffix(".npz")
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays if name != lost}
    np.savez(path, **kept)
    with pytest.raises(SystemExit):
        compare.main([str(run.folder), str(other.folder)])
    assert f"{path}: damaged (without {lost}); {stored.REMEDY}" in capsys.readouterr().err


def test_results_on_other_photos_are_not_replaced(run, tmp_path, capsys, monkeypatch):
    """A data set is told apart by its photos, as its folder is no part of a run's identity."""
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    other.evaluation_path("novel_1shot").unlink()
    monkeypatch.setattr(RunData, "novel_sha256", lambda data: "one")
    evaluate.main([str(other.folder)])
    kept = other.evaluation_path("novel_1shot").read_bytes()
    evaluate.main([str(other.folder), "--protocols", "sst"])
    assert "there already" in capsys.readouterr().out
    monkeypatch.setattr(RunData, "novel_sha256", lambda data: "two")
    for words in ([], ["--protocols", "sst"]):
        with pytest.raises(SystemExit):
            evaluate.main([str(other.folder), *words])
        assert "on other photos than those of data.root" in capsys.readouterr().err
    assert other.evaluation_path("novel_1shot").read_bytes() == kept


def test_classes_of_the_training_are_told(run, tmp_path, capsys):
    other = Run(shutil.copytree(run.folder, tmp_path / "run"))
    known = json.loads((other.folder / "classes.json").read_text())["base"]
    evaluate.main([str(other.folder), *TRIAL, "--data.fold", "1", "--json"])
    printed = capsys.readouterr()
    protocol = json.loads(printed.out)[0]["protocol"]
    assert protocol["seen_in_training"] == protocol["novel_classes"]
    assert set(protocol["seen_in_training"]) <= set(known)
    assert f"was trained on {', '.join(protocol['seen_in_training'])}: their" in printed.err


def test_what_was_not_unseen_is_noted_beside_a_difference(run, tmp_path, capsys):
    """As a results file says it: an epoch chosen on novel classes, tested classes trained on."""
    other = Run(shutil.copytree(run.folder, tmp_path / "other"))
    path = other.evaluation_path("novel_1shot")
    results = stored.read_results(path)
    compare.main([str(run.folder), str(other.folder)])
    assert "note" not in capsys.readouterr().err
    seen = results["protocol"]["novel_classes"][0]
    results["protocol"] |= {"select_on": "novel", "seen_in_training": [seen]}
    write_json(path, results)
    compare.main([str(run.folder), str(other.folder)])
    told = capsys.readouterr().err
    assert "note: other had its epoch chosen on novel classes (train.select_on)" in told
    assert f"note: other was trained on {seen}" in told and f"{run.folder.name} was" not in told
    subject = Subject(other.folder, photos=False)
    assert f"was trained on {seen}" in _facts(subject)
    assert "was trained on" not in _facts(Subject(run.folder, photos=False))


def test_classes_that_a_model_began_with_and_their_other_names_were_seen(tmp_path):
    run = Run(tmp_path)
    assert run.trained_on() == []
    write_json(tmp_path / "classes.json", {"base": ["aeroplane", "dog"], "novel": ["bus"],
                                           "before": ["tvmonitor"]})
    data = SimpleNamespace(class_names=lambda: {"novel": ["airplane", "bus", "tv"]})
    assert seen_in_training(run, data) == ["airplane", "tv"]


def test_a_trial_leaves_the_support_check_as_it_was(run, monkeypatch):
    three = SimpleNamespace(class_ids=[1, 2, 3])
    monkeypatch.setattr(after_training, "support_check", lambda *_: three)
    monkeypatch.setattr(after_training.metrics, "mean_iou", lambda *_: 0.25)
    path = run.evaluation_path("support_check")
    for words, kept in ((TRIAL, False), ([], True)):
        after_training.check_support(run, run.config(words), None, None, None)
        assert path.is_file() == kept
    one = stored.Evaluation(run.folder, 1)
    inter, union = one.arrays["tuned_chosen"][:, :3]
    ids = one.counts.class_ids[:3]
    right = np.mean([inter[ids == i].sum() / union[ids == i].sum() for i in sorted(set(ids))])
    assert json.loads(path.read_text()) == {
        "right": pytest.approx(right), "other_class": 0.25, "episodes": 3,
        "model_sha256": run.model_sha256()}


@pytest.mark.parametrize("words", [["--tuner.steps", "0"], ["--model.channels", "7"],
                                   ["--loss.balanced", "false"]])
def test_keys_that_made_a_model_are_no_evaluation_s(words, run, capsys):
    with pytest.raises(SystemExit):
        evaluate.main([str(run.folder), *words])
    assert f"{words[0]} " in (told := capsys.readouterr().err) and "stays so" in told


def test_results_of_earlier_versions_count_as_what_they_say(run, tmp_path):
    other = Run.create(tmp_path / "other", run.config())
    results = stored.read_results(run.evaluation_path("novel_1shot"))
    del results["protocol"]["sha256"]
    data = results["config"]["data"]
    data["rule"], data["novel"] = data.pop("pair_filter"), data.pop("novel_policy")
    write_json(other.evaluation_path("novel_1shot"), results)
    other.evaluation_path("novel_1shot").with_suffix(".npz").write_bytes(
        run.evaluation_path("novel_1shot").with_suffix(".npz").read_bytes())
    assert stored.Evaluation(other.folder, 1).results["scores"] == results["scores"]
    del results["config"]
    write_json(other.evaluation_path("novel_1shot"), results)
    assert cell(other).missing() == [] and cell(other, "--evaluate.seed", "2").missing() == [1]


def test_a_run_without_results_says_how_to_get_them(tmp_path):
    with pytest.raises(UserError, match=r"not there; sst evaluate .*shots '\[3\]'"):
        stored.Evaluation(Run.create(tmp_path / "run", Config()).folder, 3)
