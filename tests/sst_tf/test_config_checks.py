# SPDX-License-Identifier: Apache-2.0
"""What cannot work is refused before anything is read or trained, with the key named."""

import json
import runpy
from pathlib import Path

import pytest

from pipelines.errors import UserError
from sst_tf import evaluate, train
from sst_tf.config import DataConfig, parse, parser
from sst_tf.evaluation import protocol_options
from tests.export.conftest import make_run
from tests.pipelines.tiny_voc import write_tiny_voc
from tests.sst_tf.test_commands import QUICK, fails

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("words, key", [
    ("--train.validation_episodes 0", "train.validation_episodes"),
    ("--train.validation_every 0", "train.validation_every"),
    ("--train.select_on novel --train.novel_episodes 0", "train.select_on"),
    ("--train.select_on novel --data.validation_share 0", "train.select_on"),
    ("--data.validation_share 0", "data.validation_share"),
    ("--tuner.step_size learned --tuner.second_order false", "tuner.step_size"),
    ("--tuner.step_size -1", "tuner.step_size"),
    ("--tuner.step_size .nan", "tuner.step_size"),
    ("--train.novel_episodes -1", "train.novel_episodes"),
    ("--train.shots 0", "train.shots"),
    ("--train.seed -1", "train.seed"),
    ("--train.parallel_calls -2", "train.parallel_calls"),
    ("--optimizer.learning_rate 0", "optimizer.learning_rate"),
    ("--optimizer.momentum 1", "optimizer.momentum"),
    ("--optimizer.weight_decay -0.1", "optimizer.weight_decay"),
    ("--optimizer.head_multiplier 0", "optimizer.head_multiplier"),
    ("--optimizer.name adam --optimizer.head_multiplier 10", "optimizer.head_multiplier"),
    ("--optimizer.clip_norm -1", "optimizer.clip_norm"),
    ("--pretrain.learning_rate 0", "pretrain.learning_rate"),
    ("--model.dropout 1", "model.dropout"),
    ("--model.method panet --model.dropout 0.5", "model.dropout"),
    ("--model.method canet --model.comparator concatenate", "model.comparator"),
    ("--model.backbone small --model.weights none", "model.train_backbone"),
    ("--data.fold 4", "data.fold"),
    ("--data.fold 2 --data.novel_classes [ring]", "data.fold"),
    ("--data.layout interleaved --data.novel_classes [ring]", "data.layout"),
    ("--data.novel_classes [ring,heart,ring]", "data.novel_classes"),
    ("--data.count 0", "data.count"),
    ("--data.annotations x.json", "data.annotations"),
    ("--data.split_file x.txt", "data.split_file"),
    ("--data.classes x.txt", "data.classes"),
    ("--evaluate.threshold_episodes 0", "evaluate.threshold_episodes"),
    ("--evaluate.resamples 0", "evaluate.resamples"),
    ("--evaluate.absent_episodes -1", "evaluate.absent_episodes"),
    ("--evaluate.seed -1", "evaluate.seed"),
    ("--evaluate.shots [1,5,1]", "evaluate.shots"),
    ("--evaluate.scales []", "evaluate.scales"),
    ("--evaluate.ways 2 --evaluate.flip true", "evaluate.ways"),
    ("--evaluate.ways 2 --evaluate.oracle true", "evaluate.ways"),
])
def test_nonsense_is_refused_by_its_key(words, key):
    with pytest.raises(UserError, match=f"command line: {key}"):
        parse(parser(), words.split(), None)


@pytest.mark.parametrize("words, key", [
    ("--data.pair_filter area", "data.pair_filter 'area': no such file; expected none, area2048"),
    ("--evaluate.episode_file /no/file.jsonl --evaluate.shots [1]", "evaluate.episode_file"),
    ("--model.weights /no/file.npz", "model.weights"),
    ("--data.dataset folder --data.root x --data.split_file /no/file.txt", "data.split_file")])
def test_missing_files_are_told_before_anything_is_read(capsys, tmp_path, words, key):
    assert key in fails(capsys, [*words.split(), "--run_dir", str(tmp_path / "run")])


def test_episodes_to_replay_have_one_number_of_shots(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text("")
    with pytest.raises(UserError, match="evaluate.episode_file.*evaluate.shots"):
        parse(parser(), ["--evaluate.episode_file", str(path)], None)
    words = ["--evaluate.episode_file", str(path), "--evaluate.shots", "[1]"]
    parse(parser(), words, None)
    with pytest.raises(UserError, match="evaluate.runs"):
        parse(parser(), [*words, "--evaluate.runs", "2"], None)
    with pytest.raises(UserError, match="holds no episode"):
        protocol_options.test_runs(parse(parser(), words, None)[0].evaluate, None, 1)


def test_shots_that_no_novel_class_has_photos_for_stop_before_training(tmp_path, capsys):
    write_tiny_voc(tmp_path / "data", photos=48, suffix=".jpg")
    line = fails(capsys, [*QUICK, "--data.dataset", "voc", "--data.root", str(tmp_path / "data"),
                          "--data.novel_classes", "[cup,fork]", "--evaluate.shots", "[1,30]",
                          "--run_dir", str(tmp_path / "run")])
    assert "30-shot" in line and "cup" in line
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_batch_is_shared_evenly_among_devices(tmp_path, capsys):
    from sst_tf.training.distribute import refuse_uneven
    with pytest.raises(UserError, match="train.batch: 5 .* 2 devices"):
        refuse_uneven(5, 2)
    refuse_uneven(6, 2)


def test_a_folder_that_an_option_names_is_not_the_run(tmp_path, capsys):
    run = make_run(tmp_path / "run", DataConfig(image_size=33, count=120))
    (tmp_path / "VOC").mkdir()
    evaluate.main(["--data.root", str(tmp_path / "VOC"), str(run.folder), "--evaluate.shots",
                   "[1]", "--evaluate.episodes", "6", "--evaluate.resamples", "20",
                   "--evaluate.threshold_episodes", "6", "--evaluate.absent_episodes", "0"])
    assert "1-shot, 6 episodes" in capsys.readouterr().out


def test_a_yaml_file_that_an_option_names_is_not_the_configuration(tmp_path, capsys):
    path = tmp_path / "list.yaml"
    path.write_text("tuner: {stepz: 1}")
    line = fails(capsys, ["--data.pair_filter", str(path), "--data.dataset", "folder",
                          "--data.root", "/no/where", "--run_dir", str(tmp_path / "run")],
                 train.main)
    assert "/no/where" in line


def test_novel_classes_of_the_command_line_take_the_place_of_the_file_s_fold(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("data: {fold: 2, layout: interleaved}")
    config, _ = parse(parser(), ["--data.novel_classes", "[ring,heart]"], str(path))
    data = config.data
    assert (data.novel_classes, data.fold, data.layout) == (["ring", "heart"], 0, None)
    for words in (["--data.novel_classes", "[ring]", "--data.fold", "2"],
                  ["--data.novel_classes=[ring]", "--data.layout=interleaved"]):
        with pytest.raises(UserError, match=r"command line: data\.(fold|layout)"):
            parse(parser(), words, str(path))
    path.write_text("data: {fold: 2, novel_classes: [ring]}")
    with pytest.raises(UserError, match="c.yaml: data.fold 2"):
        parse(parser(), [], str(path))


def test_the_search_of_steps_still_parses():
    """Its classes are novel in no fold, and its configuration names one."""
    script = runpy.run_path(str(ROOT / "docs/results/step_search.py"))
    config, _ = parse(parser(), ["--data.root", "x", "--data.novel_classes",
                                 json.dumps(script["NOVEL"])],
                      str(ROOT / "configs/pascal5i_resnet18.yaml"))
    assert config.data.novel_classes == script["NOVEL"]
