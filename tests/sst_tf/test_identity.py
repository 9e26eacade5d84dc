# SPDX-License-Identifier: Apache-2.0
"""What a configuration is: files count by what is in them, places do not count."""

import shutil

import pytest
import yaml

from pipelines.errors import UserError
from sst_tf import train
from sst_tf.config import (
    Config,
    TrainConfig,
    identity,
    parse,
    parser,
    sha256,
    trained_otherwise,
)
from sst_tf.config.identity import PRESETS
from sst_tf.experiments.grid import training_key
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model
from sst_tf.training.resume import refuse_changes
from tests.sst_tf.test_commands import QUICK, fails

READ_BY = {"--data.split_file": "folder", "--data.classes": "voc", "--data.annotations": "coco"}


def config(*arguments):
    """With a data set that reads the file."""
    if arguments[0] in READ_BY:
        arguments += ("--data.dataset", READ_BY[arguments[0]], "--data.root", "x")
    return parse(parser(), [*arguments, "--evaluate.shots", "[1]"], None)[0]


@pytest.mark.parametrize("key", ["data.split_file", "data.classes", "data.annotations",
                                 "data.pair_filter", "model.weights", "evaluate.episode_file"])
def test_a_file_counts_by_its_content(tmp_path, key):
    """The same name with another content is another configuration; a copy elsewhere is not."""
    file, copy = tmp_path / "file.txt", tmp_path / "elsewhere" / "file.txt"
    copy.parent.mkdir()
    for path in (file, copy):
        path.write_text("cup\n")
    before = sha256(config(f"--{key}", str(file)))
    assert sha256(config(f"--{key}", str(copy))) == before
    key_before = training_key(config(f"--{key}", str(file)))
    file.write_text("cup\nfork\n")
    assert sha256(config(f"--{key}", str(file))) != before
    if not key.startswith("evaluate"):
        assert training_key(config(f"--{key}", str(file))) != key_before


def test_the_base_classes_beside_a_split_file_count(tmp_path):
    file = tmp_path / "test.txt"
    file.write_text("cup\n")
    before = sha256(config("--data.split_file", str(file)))
    (tmp_path / "trn.txt").write_text("fork\n")
    assert sha256(config("--data.split_file", str(file))) != before


def test_a_missing_file_counts_by_its_name(tmp_path):
    one, other, moved = (config("--model.weights", str(tmp_path / name))
                         for name in ("a.npz", "b.npz", "elsewhere/a.npz"))
    assert sha256(one) == sha256(moved) != sha256(other)


def test_places_and_parallelism_do_not_count():
    for key, value in (("data.root", "elsewhere"), ("train.cache_dir", "elsewhere"),
                       ("train.strategy", "mirrored"), ("train.parallel_calls", "3"),
                       ("evaluate.batch", "2"), ("evaluate.processes", "2")):
        assert sha256(config(f"--{key}", value)) == sha256(config("--data.fold", "0")), key


@pytest.mark.parametrize("then, now", [("sst", "panet"), ("panet", "sst")])
def test_resume_sees_another_value_of_a_key_that_identities_leave_out(tmp_path, then, now):
    """At its default `model.method` is in no identity."""
    run = Run.create(tmp_path, config("--model.method", then))
    refuse_changes(run, config("--model.method", then))
    with pytest.raises(UserError, match=f"model.method .'{then}' then, '{now}' now"):
        refuse_changes(run, config("--model.method", now))


def test_a_changed_key_is_named_before_those_that_follow_it(tmp_path):
    """`tuner.loss` is what `loss.balanced` says unless it is set."""
    run = Run.create(tmp_path, config("--loss.balanced", "true"))
    with pytest.raises(UserError, match=r"another loss.balanced .True then, False now"):
        refuse_changes(run, config("--loss.balanced", "false"))


def test_resume_takes_another_way_to_answer(tmp_path):
    """No weight depends on it; rows of a table that share a training differ in it."""
    run = Run.create(tmp_path, config("--model.second_look", "0.3"))
    refuse_changes(run, config("--model.second_look", "0"))
    refuse_changes(run, config("--model.fusion", "average"))


def test_a_model_answers_as_its_run_s_configuration_says_today(tmp_path):
    """Evaluation, predictor and exports have one source of how photos are answered."""
    small = ("--model.backbone", "small", "--model.weights", "none", "--model.train_backbone",
             "true", "--model.channels", "8")
    run = Run.create(tmp_path, config(*small))
    run.save_model(build_model(run.config()))
    assert run.model().answering == ("weighted", 0.0)
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("second_look: 0.0", "second_look: 0.3"))
    model = run.model()
    assert model.answering == ("weighted", 0.3) and model.settings["model"]["second_look"] == 0.3
    assert SSTSegmenter(**model.settings).answering == ("weighted", 0.3)


def test_resume_sees_another_content_under_the_same_name(tmp_path, capsys, eagerly):
    """The class list is edited in place between two starts."""
    from tests.pipelines.tiny_voc import write_tiny_voc
    write_tiny_voc(tmp_path / "data", photos=48, suffix=".jpg")
    names = tmp_path / "names.txt"
    names.write_text((tmp_path / "data" / "classes.txt").read_text())
    arguments = [*QUICK, "--data.dataset", "voc", "--data.root", str(tmp_path / "data"),
                 "--data.classes", str(names), "--data.novel_classes", "[cup,fork]",
                 "--data.novel_policy", "keep", "--data.validation_share", "0.4",
                 "--train.epochs", "1", "--skip_evaluation", "--run_dir", str(tmp_path / "run")]
    train.main(arguments)
    train.main([*arguments, "--resume"])
    names.write_text(names.read_text() + "ladle\n")
    assert "data.classes" in fails(capsys, [*arguments, "--resume"])
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["classes"]


def test_a_service_counts_by_whether_there_is_one():
    """Its workers mix up the order of episodes, wherever they are."""
    keys = [sha256(Config(train=TrainConfig(service=where))) for where in (None, "a:1", "b:2")]
    assert keys[0] == sha256(Config()) and keys[1] == keys[2] != keys[0]


def test_a_preset_counts_by_its_file_whatever_names_it(tmp_path):
    """So a preset that was made anew is another start, and a copy of one is the same."""
    copy = tmp_path / "mine.npz"
    shutil.copy(PRESETS / "sst_resnet18.npz", copy)
    named, by_path, none = (identity(Config(train=TrainConfig(init=init))) for init in (
        "sst_resnet18", str(copy), "sst_unknown"))
    assert named == by_path and named["train"]["init"] != none["train"]["init"] == "sst_unknown"
    config = Config(train=TrainConfig(init="sst_resnet18"))
    earlier = {**named, "train": {**named["train"], "init": "sst_resnet18"}}
    assert trained_otherwise(earlier, config) == trained_otherwise(named, config) == []
    copy.write_bytes(b"another")
    assert [key for _, key, *_ in trained_otherwise(identity(Config(
        train=TrainConfig(init=str(copy)))), config)] == ["init"]
