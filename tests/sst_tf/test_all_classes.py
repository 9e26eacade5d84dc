# SPDX-License-Identifier: Apache-2.0
"""Training on all classes: none is novel, nothing unseen is tested, operating points are chosen."""

import json
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.folds import PASCAL_CLASSES, novel_class_ids
from sst_tf import config as configuration
from sst_tf import evaluate
from sst_tf.config import Config, DataConfig
from sst_tf.data.run_data import open_data
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.reporting import report_page
from tests.pipelines.tiny_voc import CLASSES, write_tiny_voc
from tests.sst_tf.test_commands import QUICK, fails, run

CONFIGS = Path(__file__).parents[2] / "configs"


def test_an_empty_list_means_none_and_no_list_means_the_fold():
    assert novel_class_ids(PASCAL_CLASSES, fold=1, novel_classes=[]) == ()
    assert novel_class_ids(PASCAL_CLASSES, fold=1) == (6, 7, 8, 9, 10)
    empty, unset = (Config(data=DataConfig(novel_classes=names)) for names in ([], None))
    assert configuration.sha256(empty) != configuration.sha256(unset)


def test_all_photos_of_all_classes_are_base_ones(tmp_path):
    root = write_tiny_voc(tmp_path / "tiny", photos=24)
    data = open_data(Config(data=DataConfig(dataset="voc", root=str(root), novel_classes=[])))
    assert data.novel_ids == () and data.novel == []
    assert data.class_names() == {"base": list(CLASSES), "novel": []}
    photos = {pair.image_id for pair in data.train + data.validation}
    assert len(photos) == 24


def test_train_and_evaluate_end_with_the_operating_points(tmp_path, capsys, eagerly):
    write_tiny_voc(tmp_path / "data", photos=48, suffix=".jpg")
    done = run([*QUICK, "--data.dataset", "voc", "--data.root", str(tmp_path / "data"),
                "--data.novel_classes", "[]", "--data.validation_share", "0.4",
                "--evaluate.absent_episodes", "4"], tmp_path / "run")
    printed = capsys.readouterr().out
    assert "novel: no class" in printed and "unseen classes" not in printed
    assert printed.count("nothing unseen was tested") == 1
    assert "1-shot: foreground from" in printed and "2-shot: foreground from" in printed
    assert not list((done.folder / "evaluations").glob("*"))
    assert not any(key.startswith("novel") for row in done.history() for key in row)
    point = OperatingPoint(done)
    assert point.stored(1) and point.stored(2) and not point.stored(5)
    presence = json.loads(done.presence_path.read_text())
    assert next(value for key, value in presence.items() if key.startswith("1 ")).keys() >= {
        "threshold", "base"}

    evaluate.main([str(done.folder), "--evaluate.shots", "[5]"])
    assert "nothing unseen was tested" in capsys.readouterr().out
    assert point.stored(5)
    line = fails(capsys, [str(done.folder), "--protocols", "hsnet"], evaluate.main)
    assert "evaluate.protocol" in line and "data.novel_classes []" in line
    with pytest.raises(UserError, match="trained on all classes"):
        report_page.Subject(done.folder)


def test_a_model_cannot_be_selected_on_classes_that_are_not_there():
    with pytest.raises(UserError, match="command line: train.select_on .*data.novel_classes"):
        configuration.parse(configuration.parser(), [
            "--data.novel_classes", "[]", "--train.select_on", "novel"], None)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_preset_s_recipe_is_that_of_the_folds(backbone):
    """The card's scores are of the folds: what is trained must be the same, but for what is left
    out. How it is asked is told by the row of the scores."""
    fold, preset = (configuration.to_dict(configuration.parse(
        configuration.parser(), [], str(CONFIGS / f"{name}_{backbone}.yaml"))[0])
        for name in ("pascal5i", "preset"))
    assert preset["data"]["novel_classes"] == [] and preset["data"]["train_split"] == "all"
    for section, key in (("data", "novel_classes"), ("data", "train_split"), ("data", "fold"),
                         ("data", "novel_policy"), ("data", "novel_split"),
                         ("train", "novel_episodes"), ("evaluate", "shots"),
                         ("evaluate", "episodes"),
                         *(("model", key) for key in configuration.ANSWERING)):
        del fold[section][key], preset[section][key]
    assert preset == fold
