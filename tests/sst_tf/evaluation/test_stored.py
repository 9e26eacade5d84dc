# SPDX-License-Identifier: Apache-2.0
"""Results files: no trial takes the place of another evaluation, no reader takes it for one."""

import json
import shutil

import pytest

from pipelines.errors import UserError
from pipelines.writing import write_json
from sst_tf import compare, evaluate
from sst_tf.config import Config, DataConfig
from sst_tf.evaluation import stored
from sst_tf.experiments.grid import Cell
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
    evaluate.main([str(run.folder)])
    evaluate.main([str(run.folder), *TRIAL])
    return run


def cell(run, *overrides):
    return Cell("row", "0", 0, [], run.config(overrides), run.folder, [1])


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


def test_a_grid_takes_its_own_protocol_only(run, tmp_path):
    assert cell(run).missing() == [] and cell(run, *TRIAL).missing() == []
    assert cell(run, "--evaluate.seed", "4").missing() == [1]
    assert cell(run, "--model.fusion", "average").missing() == [1]


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
    with pytest.raises(UserError, match="not there; python -m sst_tf.evaluate"):
        stored.Evaluation(Run.create(tmp_path / "run", Config()).folder, 1)
