# SPDX-License-Identifier: Apache-2.0
"""One operating point a setting: chosen on base classes, kept under all that it depends on."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from export.trained import Trained
from pipelines.errors import UserError
from pipelines.writing import write_json
from sst_tf import evaluate, train
from sst_tf.config import Config, DataConfig, EvaluateConfig
from sst_tf.photos.predictor import Predictor
from sst_tf.reporting import after_training
from sst_tf.runs.directory import Run
from tests.export.conftest import make_run
from tests.sst_tf.test_commands import QUICK

pytestmark = pytest.mark.usefixtures("kept_models")

SMALL = ["--evaluate.episodes", "6", "--evaluate.shots", "[1]", "--evaluate.resamples", "20",
         "--evaluate.absent_episodes", "0"]


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path / "run", DataConfig(image_size=33, count=120))
    run.thresholds_path.unlink()
    return run


def point(run, *overrides):
    from sst_tf.evaluation.operating_point import OperatingPoint
    return OperatingPoint(run, run.config(overrides) if overrides else None)


def test_a_quick_override_is_kept_for_no_other_settings(run):
    for episodes in ("2", "6", "6"):
        evaluate.main([str(run.folder), *SMALL, "--evaluate.threshold_episodes", episodes])
    assert len(run.thresholds()) == 2  # a point each
    with pytest.warns(UserWarning, match="no threshold for 1 shots, 0.5 is used"):
        assert Predictor.from_run(run.folder).threshold(1) == 0.5  # the run's own has 400 episodes
    with pytest.raises(UserError, match=r"evaluate.shots '\[1\]'"):
        Trained.load(run.folder, shots=1)


def test_everything_that_a_point_depends_on_is_in_its_key(run):
    keys = [point(run).key(1), point(run).key(2), *(
        point(run, f"--{key}", value).key(1) for key, value in (
            ("model.fusion", "average"), ("model.second_look", "0.3"), ("evaluate.seed", "3"),
            ("data.image_size", "65"), ("data.resize", "pad"), ("evaluate.threshold_episodes", "4"),
            ("evaluate.scales", "[0.75,1]"), ("evaluate.flip", "true"),
            ("evaluate.protocol", "pfenet"), ("data.validation_share", "0.3")))]
    run.model_path.write_bytes(run.model_path.read_bytes() + b" ")  # another model
    keys.append(point(run).key(1))
    assert len(set(keys)) == len(keys)
    for key, value in (("evaluate.batch", "2"), ("data.root", "x"), ("evaluate.resamples", "7")):
        assert point(run, f"--{key}", value).key(1) == keys[-1]


def test_the_nearest_shots_of_the_same_model_and_settings_stand_in(run):
    point(run).keep(2, {"tuned": 60, "untuned": 55})
    point(run, "--evaluate.threshold_episodes", "4").keep(1, {"tuned": 10})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert point(run).threshold(2) == 0.6 and point(run).threshold(2, "untuned") == 0.55
    with pytest.warns(UserWarning, match=r"for 1 shots, that of 2 .* --evaluate.shots '\[1\]'"):
        assert point(run).threshold(1) == 0.6
    run.model_path.write_bytes(run.model_path.read_bytes() + b" ")  # another model
    with pytest.warns(UserWarning, match="0.5 is used"):
        assert point(run).threshold(2) == 0.5
    with pytest.warns(UserWarning, match="no presence threshold for 1 shots"):
        assert point(run).presence_threshold(1) == 0


def test_files_of_old_runs_are_read(run):
    write_json(run.thresholds_path, {"1": {"tuned": 40}, "1 average": {"tuned": 30}})
    write_json(run.presence_path, {"1": {"threshold": 0.25}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert point(run).threshold(1) == 0.4
        assert point(run, "--model.fusion", "average").threshold(1) == 0.3
    with pytest.warns(UserWarning, match="no presence threshold for 1 shots, 0 is used"):
        assert point(run).presence_threshold(1) == 0  # it was of another score
    assert point(run).stored(1) is None  # an evaluation does not know under what it was chosen


def test_writers_at_the_same_time_lose_nothing(run):
    code = ("import sys; from sst_tf.runs import Run\n"
            "from sst_tf.evaluation.operating_point import OperatingPoint\n"
            "point = OperatingPoint(Run(sys.argv[1]))\n"
            "for k in range(int(sys.argv[2]), 60, 2): point.keep(k, {'tuned': k})")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(run.folder), str(first)],
                                cwd=Path(__file__).parents[3]) for first in (0, 1)]
    assert [one.wait(120) for one in writers] == [0, 0]
    assert sorted(entry["tuned"] for entry in run.thresholds().values()) == list(range(60))


def test_training_ends_well_whatever_the_fusion_and_the_views(tmp_path, capsys, eagerly):
    arguments = [*QUICK, "--data.count", "240", "--data.dataset", "shapes", "--train.epochs", "1",
                 "--evaluate.absent_episodes", "0"]
    arguments += ["--model.fusion", "average", "--evaluate.flip", "true", "--evaluate.scales",
                  "[0.75,1]", "--run_dir", str(tmp_path / "run")]
    train.main(arguments)
    assert "sanity" in capsys.readouterr().out
    picture = tmp_path / "run" / "episodes.png"
    picture.unlink()
    with warnings.catch_warnings(record=True) as told:  # the picture has the new way's threshold
        train.main([*arguments, "--resume", "--model.second_look", "0.3"])
    assert picture.is_file() and not [w for w in told if "no threshold" in str(w.message)]
    assert json.loads(Run(tmp_path / "run").thresholds_path.read_text())


@pytest.mark.parametrize("evaluated", [
    {"shots": [1], "episode_file": "one.jsonl"}, {"shots": [1], "protocol": "hsnet"},
    {"shots": [2]}])
def test_a_support_of_another_class_is_compared_on_the_same_queries_or_not(
        evaluated, monkeypatch, capsys):
    """The check draws the own protocol's queries; a file or another protocol has others."""
    def never(*_):
        raise AssertionError("other queries")

    results, drawn = {"protocol": {"episodes": 1, "photos": 2}}, []
    for name, stub in (("tell_seen", lambda *_: None), ("evaluate", lambda *_: results),
                       ("table", lambda _: ""), ("draw", lambda *_: drawn.append(True)),
                       ("check_support", never)):
        monkeypatch.setattr(after_training, name, stub)
    config = Config(evaluate=EvaluateConfig(**evaluated))
    after_training.report(None, config, None, SimpleNamespace(novel_ids=(1, 2)), None)
    assert "not checked" in capsys.readouterr().out and drawn
