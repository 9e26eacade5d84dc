# SPDX-License-Identifier: Apache-2.0
"""train and evaluate as a user runs them: real files in, run directory out, one-line errors."""

import json

import numpy as np
import pytest
import yaml

from pipelines.errors import UserError
from sst_tf import compare, evaluate, train
from sst_tf.config import Config, identity, parse, parser, sha256
from sst_tf.data import feature_store
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model
from sst_tf.training import validation
from tests.pipelines.tiny_voc import write_tiny_voc

QUICK = ["--model.backbone", "small", "--model.weights", "none", "--model.train_backbone", "true",
         "--model.channels", "8", "--data.image_size", "33", "--train.epochs", "2",
         "--train.steps_per_epoch", "2", "--train.batch", "2", "--train.validation_episodes", "6",
         "--train.novel_episodes", "6", "--evaluate.episodes", "8", "--evaluate.shots", "[1,2]",
         "--evaluate.threshold_episodes", "6", "--evaluate.absent_episodes", "0",
         "--evaluate.resamples", "20",
         "--optimizer.name", "adam", "--optimizer.learning_rate", "0.001"]


@pytest.fixture
def toy(tmp_path):
    write_tiny_voc(tmp_path / "data", photos=48, suffix=".jpg")
    return [*QUICK, "--data.dataset", "voc", "--data.root", str(tmp_path / "data"),
            "--data.novel_classes", "[cup,fork]", "--data.novel_policy", "keep",
            "--data.validation_share", "0.4"]


def run(arguments, folder):
    train.main([*arguments, "--run_dir", str(folder)])
    return Run(folder)


def test_train_and_evaluate_on_the_toy(toy, tmp_path, capsys):
    done = run([*toy, "--evaluate.absent_episodes", "4"], tmp_path / "run")
    printed = capsys.readouterr().out
    assert "sanity" in printed and "unseen classes, 2-shot" in printed
    for name in ("config.yaml", "environment.json", "model.keras", "last.npz", "history.csv",
                 "thresholds.json", "episodes.png", "evaluations/novel_1shot.json",
                 "evaluations/novel_2shot.json"):
        assert (done.folder / name).is_file(), name
    assert list((done.folder / "tensorboard").rglob("events*"))
    rows = done.history()
    assert [int(r["epoch"]) for r in rows] == [0, 1]
    assert {"loss", "base_miou", "novel_miou", "support_iou_before"} <= rows[0].keys()

    first = json.loads(done.evaluation_path("novel_1shot").read_text())
    assert 0 <= first["presence"]["base"]["answered_where_absent"] <= 1
    assert set(first["scores"]) == {"tuned", "untuned", "prototype", "all_foreground"}
    assert first["protocol"]["novel_classes"] == ["cup", "fork"]
    assert first["scores"]["tuned"]["threshold"]["chosen_on"] == "base"
    evaluate.main([str(done.folder), "--evaluate.shots", "[1]"])
    again = json.loads(done.evaluation_path("novel_1shot").read_text())
    assert again["scores"] == first["scores"]  # the same episodes, the same bits

    evaluate.main([str(done.folder), "--evaluate.shots", "[1]", "--evaluate.oracle", "true"])
    bound = json.loads(done.evaluation_path("novel_1shot").read_text())
    assert bound["scores"].pop("oracle")["miou"] != first["scores"]["tuned"]["miou"]
    assert bound["scores"] == first["scores"] and bound["support_iou"] == first["support_iou"]


def test_a_killed_run_goes_on_as_if_nothing_had_been(toy, tmp_path, eagerly):
    whole = run([*toy, "--skip_evaluation"], tmp_path / "whole")
    killed = tmp_path / "killed"

    class Kill(Exception):
        pass

    def stop(self, epoch, logs=None):
        if epoch == 1:
            raise Kill

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation.Validation, "on_epoch_begin", stop)
        patch.setattr(validation.Validation, "started", 0.0, raising=False)
        with pytest.raises(Kill):
            run([*toy, "--skip_evaluation"], killed)
    assert len(Run(killed).history()) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_DETERMINISTIC_OPS", "0")
        run([*toy, "--skip_evaluation", "--resume"], killed)
    starts = json.loads((killed / "environment.json").read_text())
    assert "TF_DETERMINISTIC_OPS" not in starts["variables"]
    assert [one["variables"]["TF_DETERMINISTIC_OPS"] for one in starts["resumed"]] == ["0"]
    with np.load(whole.last_path) as a, np.load(Run(killed).last_path) as b:
        for name in a.files:
            if name != "state":
                np.testing.assert_allclose(a[name], b[name], atol=1e-6)
    ours, theirs = whole.history(), Run(killed).history()
    assert [r["loss"][:6] for r in ours] == [r["loss"][:6] for r in theirs]


def fails(capsys, arguments, command=train.main):
    with pytest.raises(SystemExit) as caught:
        command(arguments)
    assert caught.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_resumed_run_says_what_its_record_keeps(toy, tmp_path, capsys, eagerly):
    folder = str(tmp_path / "run")
    run([*toy, "--skip_evaluation"], folder)
    again = [*toy, "--skip_evaluation", "--resume"]
    run([*again, "--evaluate.batch", "3", "--evaluate.shots", "[1]"], folder)
    assert "keeps its" not in capsys.readouterr().err
    run([*again, "--evaluate.episodes", "9", "--model.second_look", "0.3"], folder)
    assert "keeps its evaluate.episodes, model.second_look: evaluated as asked now" in (
        capsys.readouterr().err)


def test_resume_with_another_configuration_is_refused(toy, tmp_path, capsys, eagerly):
    folder = str(tmp_path / "run")
    run([*toy, "--skip_evaluation"], folder)
    assert "holds a run already" in fails(capsys, [*toy, "--run_dir", folder])
    line = fails(capsys, [*toy, "--run_dir", folder, "--resume", "--tuner.steps", "0"])
    assert "tuner.steps" in line and "1 then, 0 now" in line
    # Where a data set lies is no part of a configuration; which photos it has is one of a run.
    photos = Run(folder).folder / "photos.json"
    then = json.loads(photos.read_text())
    (name, number), = then["train"].items()
    photos.write_text(json.dumps({**then, "train": {name: number - 1}}))
    line = fails(capsys, [*toy, "--run_dir", folder, "--resume"])
    assert f"{number} of {name} train photos ({number - 1} of {name} then)" in line
    photos.write_text(json.dumps(then))
    Run(folder).last_path.unlink()
    kept = Run(folder).model_sha256()
    for words in ([], ["--resume"]):
        assert "last.npz is gone" in fails(capsys, [*toy, "--run_dir", folder, *words])
    assert Run(folder).model_sha256() == kept


@pytest.mark.parametrize("text, words", [
    ("tuner: {stepz: 2}", ("c.yaml", "tuner.stepz", "step_size")),
    ("tuning: {steps: 2}", ("c.yaml", "'tuning'")),
    ("tuner: {steps: two}", ("c.yaml", "tuner.steps", "two")),
    ("tuner: [", ("c.yaml", "YAML")),
    ("train: {epochs: 0}", ("c.yaml", "train.epochs")),
    ("data: {dataset: voc}", ("c.yaml", "data.root")),
    ("data: {dataset: voc, root: /no/where}", ("/no/where",)),
    ("model: {weights: /no/weights.npz}", ("/no/weights.npz",)),
    ("model: {train_backbone: true}\ntrain: {cache_features: true}", ("cache_features",)),
])
def test_configuration_errors_name_key_and_file(tmp_path, capsys, text, words):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    line = fails(capsys, [str(path), "--run_dir", str(tmp_path / "run"), "--data.image_size", "33",
                          "--data.count", "60"])
    for word in words:
        assert word in line


def test_command_line_errors(tmp_path, capsys):
    assert "/no/file.yaml: no such configuration" in fails(capsys, ["/no/file.yaml"])
    assert "shapes_small" in fails(capsys, [])
    assert "run directory" in fails(capsys, ["/no/run"], evaluate.main)
    assert "runs/NAME" in fails(capsys, [], evaluate.main)
    assert "no finished run" in fails(capsys, [str(tmp_path)], evaluate.main)


def test_training_nothing_asks_for_a_configuration(capsys):
    assert "give a configuration" in fails(capsys, [])


@pytest.mark.parametrize("words, told", [
    ("--tuner.steps x", "tuner.steps x: expected a whole number"),
    ("--evaluate.shots 5", "evaluate.shots 5: expected a list, such as [5]"),
    ("--train.flip maybe", "train.flip maybe: expected true or false"),
    ("--data.resize big", "data.resize big: expected squash or pad"),
    ("--data.novel_classes dog", "data.novel_classes dog: expected a list, such as [dog]"),
    ("--tuner.step_size big", "tuner.step_size big: expected a number or learned"),
    ("--tuner.steps -1", "tuner.steps -1: expected at least 0"),
    ("--tuner.steps=-1", "tuner.steps -1: expected at least 0"),
    ("--data.dataset voc", "data.root None: data.dataset voc needs its folder: --data.root FOLDER"),
])
def test_a_wrong_value_is_told_in_plain_words(capsys, words, told):
    line = fails(capsys, ["shapes_small", *words.split()])
    assert told in line
    assert "data.root" in told or f"command line: {told}" in line


def test_data_errors_inside_training_are_one_line(toy, tmp_path, capsys, eagerly):
    for path in sorted((tmp_path / "data/JPEGImages").glob("*.jpg")):
        path.write_bytes(path.read_bytes()[:900])
    assert "damaged photo" in fails(capsys, [*toy, "--run_dir", str(tmp_path / "run")])


def test_nan_stops_with_a_message(toy, tmp_path, capsys, eagerly):
    line = fails(capsys, [*toy, "--run_dir", str(tmp_path / "run"), "--optimizer.name", "sgd",
                          "--optimizer.learning_rate", "1e30"])
    assert "the loss is" in line and "learning_rate" in line
    line = fails(capsys, [*toy, "--run_dir", str(tmp_path / "other"), "--optimizer.name", "sgd",
                          "--optimizer.learning_rate", "1e38", "--train.steps_per_epoch", "1"])
    assert "no number" in line and "learning_rate" in line


def test_shapes_from_the_command_line(tmp_path, eagerly):
    done = run([*QUICK, "--data.dataset", "shapes", "--data.count", "240", "--train.epochs", "1",
                "--skip_evaluation"], tmp_path / "run")
    assert done.model_path.is_file()


@pytest.mark.slow  # the sources have tests of their own, the command has voc's
@pytest.mark.parametrize("arguments", [
    ["--data.dataset", "coco", "--data.root", "data/coco_mini", "--data.layout", "interleaved",
     "--data.novel_policy", "keep", "--evaluate.shots", "[1]"],
    ["--data.dataset", "folder", "--data.root", "data/fss_mini", "--data.novel_policy", "keep",
     "--data.split_file", "data/fss_mini/splits/test.txt"],
], ids=["coco", "folder"])
def test_other_data_sets_through_the_same_command(shared, tmp_path, arguments):
    if "coco" in arguments:
        pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    arguments = [str(shared / a) if a.startswith("data/") else a for a in arguments]
    done = run([*QUICK, *arguments, "--train.epochs", "1"], tmp_path / "run")
    result = json.loads(done.evaluation_path("novel_1shot").read_text())
    novel = result["protocol"]["novel_classes"]
    if "coco" in arguments:
        assert len(novel) == 20 and novel[:2] == ["person", "airplane"]
    else:
        assert set(novel) == set((shared / "data/fss_mini/splits/test.txt").read_text().split())


def test_real_photos_with_cached_features(shared, tmp_path, eagerly):
    arguments = [*QUICK, "--data.dataset", "voc", "--data.root", str(shared / "data/pascal_mini"),
                 "--data.train_split", "val", "--data.novel_split", "val", "--data.image_size",
                 "65", "--model.backbone", "resnet18", "--model.train_backbone", "false",
                 "--model.weights", str(shared / "weights/resnet18_conv1-layer3.npz"),
                 "--train.cache_features", "true", "--train.cache_dir", str(tmp_path / "cache"),
                 "--train.epochs", "1", "--evaluate.shots", "[1]"]
    half = run(arguments, tmp_path / "half")
    with pytest.MonkeyPatch.context() as patch:  # so that a cache is all that differs
        patch.setattr(feature_store, "DTYPE", np.dtype(np.float32))
        cached = run(arguments, tmp_path / "cached")
    direct = run([*arguments, "--train.cache_features", "false"], tmp_path / "direct")
    a, b = (json.loads(r.evaluation_path("novel_1shot").read_text())["scores"]
            for r in (cached, direct))
    assert a["tuned"]["miou"] == pytest.approx(b["tuned"]["miou"], abs=0.02)
    assert a["prototype"]["miou"] == pytest.approx(b["prototype"]["miou"], abs=1e-4)
    for x, y in zip(cached.history(), direct.history(), strict=True):
        assert float(x["loss"]) == pytest.approx(float(y["loss"]), abs=1e-4)
    kept = json.loads(half.evaluation_path("novel_1shot").read_text())["scores"]
    assert kept["prototype"]["miou"] == pytest.approx(b["prototype"]["miou"], abs=1e-3)
    for x, y in zip(half.history(), direct.history(), strict=True):
        assert float(x["loss"]) == pytest.approx(float(y["loss"]), abs=1e-3)


def test_every_configuration_file_parses_and_hashes(tmp_path):
    from pathlib import Path

    files = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    assert files
    for path in files:
        config, _ = parse(parser(), ["--data.root", "."], str(path))  # some leave it to the user
        assert len(sha256(config)) == 64
        unknown = [s for s in yaml.safe_load(path.read_text()) if s not in identity(config)]
        assert not unknown
    moved, _ = parse(parser(), ["--train.cache_dir", "elsewhere"], None)
    assert sha256(moved) == sha256(Config())  # paths do not change numbers
    other, _ = parse(parser(), ["--tuner.steps", "2"], None)
    assert sha256(other) != sha256(Config())


def test_novel_selection_is_written_down(toy, tmp_path, eagerly):
    done = run([*toy, "--train.select_on", "novel", "--data.novel_classes", "[cup]",
                "--train.epochs", "1", "--evaluate.shots", "[1]"], tmp_path / "run")
    result = json.loads(done.evaluation_path("novel_1shot").read_text())
    assert result["protocol"]["select_on"] == "novel"


def test_a_missing_run_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="config.yaml"):
        Run.open(tmp_path)


def test_compare_pairs_runs_and_refuses_unequal_protocols(toy, tmp_path, capsys, eagerly):
    names = [str(tmp_path / n) for n in ("plain", "tuned", "other")]
    names.append(str(tmp_path / "looks"))
    for name, *words in ((names[0], "--tuner.steps", "0"), (names[1],),
                         (names[2], "--evaluate.seed", "7"),
                         (names[3], "--model.second_look", "0.3")):
        config, _ = parse(parser(), [*toy, "--evaluate.shots", "[1]", *words], None)
        Run.create(name, config).save_model(build_model(config))
        evaluate.main([name])
    capsys.readouterr()
    compare.main(["--resamples", "50", *names[:2]])
    printed = capsys.readouterr().out
    scores = json.loads(Run(names[1]).evaluation_path("novel_1shot").read_text())["scores"]
    assert f"| tuned | {scores['tuned']['miou']:.3f} |" in printed
    assert "tuned minus plain, at 0.5" in printed
    assert "differ in episodes_sha256" in fails(capsys, [names[0], names[2]], compare.main)
    compare.main(["--resamples", "50", names[0], names[3]])
    assert "looks answers under model.second_look 0.3, plain under 0.0" in capsys.readouterr().err

    paired = next(line for line in printed.splitlines() if "at 0.5" in line and "minus" in line)
    compare.main(["--resamples", "50", names[1], names[1], "--against", names[0], names[0]])
    line = next(x for x in capsys.readouterr().out.splitlines() if "mean over 2 seeds, at 0.5" in x)
    difference = paired.split(": ")[1].split(",")[0]
    assert line.endswith(f"by seed {difference}, {difference}")
    assert paired.partition("95 % ")[2] in line  # twice the same seed: the same resamples
    assert "one for one" in fails(capsys, [names[0], "--against", *names[:2]], compare.main)

    compare.main(["--resamples", "50", "--json", *names[:2]])
    found = json.loads(capsys.readouterr().out)
    assert found["runs"]["tuned"] == scores
    first = found["differences"][0]
    assert (first["run"], first["against"], first["point"]) == ("tuned", "plain", "half")
    assert f"{first['difference']:+.3f}" == difference
    evaluate.main([names[0], "--json"])
    results, = json.loads(capsys.readouterr().out)
    assert results["scores"] == json.loads(
        Run(names[0]).evaluation_path("novel_1shot").read_text())["scores"]


@pytest.mark.parametrize("name, content", [
    ("identity.json", "{"), ("photos.json", "{"), ("classes.json", ""), ("config.yaml", "a: \x00"),
    ("environment.json", "[")])
def test_a_damaged_record_is_named_in_one_line(toy, tmp_path, capsys, eagerly, name, content):
    run([*toy, "--skip_evaluation"], tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    line = fails(capsys, [*toy, "--skip_evaluation", "--resume", "--run_dir",
                          str(tmp_path / "run")]) if name in (
        "identity.json", "photos.json", "environment.json") else fails(
            capsys, [str(tmp_path / "run"), "--evaluate.shots", "[1]"], evaluate.main)
    assert f"{name}: " in line


def test_nothing_held_out_is_told(toy, tmp_path, capsys):
    line = fails(capsys, [*toy, "--data.validation_share", "1e-9", "--run_dir",
                          str(tmp_path / "run")])
    assert "data.validation_share 1e-09: no photo was held out" in line
    assert not (tmp_path / "run" / "config.yaml").exists()
