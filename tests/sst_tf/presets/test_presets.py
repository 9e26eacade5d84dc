# SPDX-License-Identifier: Apache-2.0
"""Presets: made of a run, read back, their cards; which backbone weights they take."""

import json
import os
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from export import saved_model
from pipelines import open_source
from pipelines.errors import DataError, UserError
from pipelines.folds import PASCAL_CLASSES
from pipelines.writing import write_json
from sst_tf import config as configuration
from sst_tf import evaluate, predict, train
from sst_tf import preset as command
from sst_tf.config import Config, DataConfig, EvaluateConfig, ModelConfig
from sst_tf.data.run_data import open_data
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.model import backbones, weights
from sst_tf.predictor import Predictor, presets
from sst_tf.presets import __main__ as listing
from sst_tf.presets import as_run, backbone_weights, making, out_of_domain, weight_files
from sst_tf.presets import preset as stored
from sst_tf.presets.card import card
from sst_tf.presets.fingerprint import difference, fingerprint
from sst_tf.presets.preset import Preset, is_run
from sst_tf.presets.start import Start
from sst_tf.reporting.after_training import choose_points
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model
from tests.sst_tf.test_commands import fails

# What `sst experiment --output` keeps, as far as a preset reads it.
SCORES = {
    "tables": [
        {"shots": 1, "point": point, "rows": {"both": {
            "mean": mean, "mean_seeds": [0], "over_photos": [0.5, 0.56],
            "folds": {"0": {"mean": 0.2, "sd": 0.1, "of_mean": 0.41},
                      "1": {"mean": 0.65, "sd": None, "of_mean": 0.65}}}}}
        for point, mean in (("half", 0.5), ("chosen", 0.53))],
    "runs": [{"row": "both", "seed": seed, "evaluations": {"1": {"presence_auc": auc}}}
             for seed, auc in ((0, 0.7), (0, 0.82), (1, 0.1))]}  # seed 1 lacks a fold


def arrays_of(backbone):
    return {f"{layer.name}/{v.name}": v.numpy() for layer in backbone.layers for v in layer.weights}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of a small backbone, and a run of random weights that keeps it as it is."""
    folder = tmp_path_factory.mktemp("presets")
    keras.utils.set_random_seed(3)
    np.savez(folder / "small.npz", **arrays_of(backbones.small()))
    config = Config(
        data=DataConfig(image_size=65, count=120, novel_classes=[], validation_share=0.4),
        model=ModelConfig(backbone="small", weights=str(folder / "small.npz"), channels=16),
        evaluate=EvaluateConfig(shots=[1, 3], threshold_episodes=6, absent_episodes=6))
    data, run = open_data(config), Run.create(folder / "toy", config)
    model = build_model(config)
    kernel = model.head.decoder.classify.kernel  # starts small; here it should matter
    kernel.assign(kernel * 30)
    run.save_model(model)
    write_json(run.folder / "classes.json", data.class_names())
    write_json(run.folder / "photos.json", data.photo_counts())
    run.append_history({"epoch": 0, "seconds": 30.0, "base_miou_chosen": 0.625})
    choose_points(run, config, model, data, None)
    write_json(folder / "scores.json", SCORES)
    return folder


@pytest.fixture(scope="module")
def toy(folder):
    """Path of the preset that the command makes of the run."""
    command.main([str(folder / "toy"), "--name", "toy", "--scores", str(folder / "scores.json"),
                  "--row", "both", "--shapes", "12", "--output", str(folder / "out")])
    return folder / "out" / "toy.npz"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty folder in the place of the user's weights, and no network."""
    monkeypatch.setenv("SST_WEIGHTS", str(tmp_path))

    def refuse(**options):
        raise OSError("URL fetch failure: None -- no network")
    monkeypatch.setattr(keras.applications, "ResNet50", refuse)
    return tmp_path


def photos():
    source = open_source("shapes", image_size=65, count=8)
    names = source.image_ids("all")
    return [source.read_image(name) for name in names], source.class_mask(
        names[0], next(iter(source.class_masks(names[0]))))


# ---- run to preset to answers --------------------------------------------------------------------


def test_a_preset_answers_as_its_run(folder, toy):
    """Half precision of embedding and head moves probabilities by less than 0.004."""
    images, mask = photos()
    answers = []
    for predictor in (Predictor.from_run(folder / "toy"),
                      Predictor.from_preset(toy, folder / "small.npz")):
        predictor.set_support(images[0], mask, "thing")
        answers.append(predictor.predict_all(images[1:]))
    for ours, theirs in zip(*answers, strict=True):
        ours, theirs = ours.predictions["thing"], theirs.predictions["thing"]
        assert np.ptp(ours.probability) > 0.05
        np.testing.assert_allclose(theirs.probability, ours.probability, atol=4e-3)
        assert abs(theirs.score - ours.score) < 4e-3
        if theirs.present == ours.present:
            assert (theirs.mask != ours.mask).mean() < 0.02
    point, preset = OperatingPoint(Run(folder / "toy")), Preset.load(toy)
    for shots, taken in ((1, 1), (3, 3), (4, 3), (9, 3)):
        assert preset.threshold(shots) == point.threshold(taken)
        assert preset.presence_threshold(shots) == point.presence_threshold(taken)


def test_class_cards_know_the_preset_by_its_file(folder, toy, tmp_path):
    images, mask = photos()
    predictor = Predictor.from_preset(toy, folder / "small.npz")
    predictor.set_support(images[0], mask, "thing").save(tmp_path / "thing.npz")
    assert Predictor.from_preset(toy, folder / "small.npz").add_card(
        tmp_path / "thing.npz").name == "thing"
    with pytest.raises(DataError, match="another model"):
        Predictor.from_run(folder / "toy").add_card(tmp_path / "thing.npz")


def test_a_preset_s_file_holds_neither_backbone_nor_places(folder, toy):
    preset, run = Preset.load(toy), Run(folder / "toy")
    model = run.model()
    own = sum(v.numpy().size for v in model.own_weights)
    assert sum(value.size for value in preset.weights) == own
    assert {value.dtype for value in preset.weights} == {np.dtype(np.float16)}
    assert str(folder) not in json.dumps(preset.facts)
    assert preset.facts["config"]["model"]["weights"] == "small.npz"
    ours, theirs = run.config(), preset.config()
    assert configuration.portable(ours) == configuration.portable(theirs)
    assert preset.data == toy.read_bytes()


def test_the_card_has_the_numbers(toy):
    text = toy.with_suffix(".md").read_text()
    assert text == card(Preset.load(toy))
    facts = Preset.load(toy).facts
    for words in ("| 1 | 0.410 | 0.650 | 0.530 | 0.500 .. 0.560 | 0.76 |", "not this file",
                  "row `both` of scores.json", "12 1-shot episodes", "mIoU 0.625",
                  f"| this file | {facts['scores']['shapes']['preset']['miou']:.3f} |",
                  f"untrained | {facts['scores']['shapes']['prototype']['miou']:.3f} |",
                  f"| 3 | {facts['points']['3']['threshold']:.2f} |", "drawn by this package"):
        assert words in text
    assert "0.5 minutes" in text and "All 20 classes of its data" in text
    bare = Preset.load(toy).scored(folds=None, shapes=None)
    assert "was not measured" in card(bare) and "was not tested" in card(bare)


def test_the_card_is_of_the_epoch_that_was_chosen(folder, toy, tmp_path):
    run = Run(shutil.copytree(folder / "toy", tmp_path / "toy"))
    for epoch, (base, novel) in enumerate(((0.5, 0.4), (0.6, 0.3), (0.4, 0.4))):
        run.append_history({"epoch": epoch, "seconds": 1.0, "base_miou_chosen": base,
                            "novel_miou_chosen": novel})
    config = run.config()
    for part, known, words in (("base", 0.6, "the best epoch chosen on "),
                               ("novel", 0.5, "chosen on the classes that it left out")):
        config.train.select_on = part
        assert making._training(run, config)["known_miou"] == known
        facts = json.loads(json.dumps(Preset.load(toy).facts))
        facts["config"]["train"]["select_on"] = part
        assert words in card(Preset(facts, [], np.zeros((1, 5))))


def test_the_card_names_the_terms_of_data_that_it_knows(toy):
    preset, terms = Preset.load(toy), []
    for classes in (PASCAL_CLASSES, ("cup", "fork")):
        training = {**preset.facts["training"], "classes": {"base": list(classes), "novel": []},
                    "photos": {split: {"voc": 5, "mini80": 2} for split in ("train", "validation")}}
        terms.append(card(Preset({**preset.facts, "training": training}, preset.weights,
                                 preset.backbone)))
    assert all("7 photos (5 of voc, 2 of mini80)" in text and "CC BY 4.0" in text for text in terms)
    assert "PASCAL VOC 2012" in terms[0] and "whoever gave you" not in terms[0]
    assert "PASCAL VOC 2012" not in terms[1] and "`voc`: ask whoever gave you" in terms[1]


def test_the_card_s_command_is_the_recipe_s(tmp_path):
    config = configuration.parse(configuration.parser(), ["--train.seed", "3"], str(
        configuration.packaged.find("preset_resnet18")))[0]
    run = Run.create(tmp_path / "preset_resnet18", config)
    assert making._command(run, config) == (
        "sst train configs/preset_resnet18.yaml --train.seed 3")
    assert making._command(Run(tmp_path / "other"), config) is None


# ---- commands ------------------------------------------------------------------------------------


@pytest.fixture
def shipped(folder, toy, monkeypatch):
    """The toy preset in the place of those that come with the package; no backbone weights yet."""
    monkeypatch.setattr(stored, "HERE", toy.parent)
    monkeypatch.setenv("SST_WEIGHTS", str(folder / "weights"))


def test_the_list_has_scores_sizes_and_missing_weights(folder, toy, shipped, capsys, monkeypatch):
    listing.main([])
    text = capsys.readouterr().out
    assert "toy" in text and "1-shot 0.530" in text
    assert f"Weights of small: none in {folder / 'weights'}" in text
    monkeypatch.setenv("SST_WEIGHTS", str(folder))
    listing.main(["--json"])
    assert json.loads(capsys.readouterr().out) == [{
        "name": "toy", "backbone": "small", "image_size": 65, "miou": {"1": 0.53},
        "megabytes": round(toy.stat().st_size / 1e6, 2), "weights": [str(folder / "small.npz")]}]


def test_the_list_may_be_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stored, "HERE", tmp_path)
    listing.main([])
    assert "comes with none" in capsys.readouterr().out


def test_predict_takes_a_preset_by_name(folder, shipped, tmp_path):
    images, mask = photos()
    for number, image in enumerate(images[:3]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    cv2.imwrite(str(tmp_path / "mark.png"), mask)
    predict.main(["--preset", "toy", "--weights", str(folder / "small.npz"), "--support",
                  f"{tmp_path / '0.png'}={tmp_path / 'mark.png'}", "--input",
                  str(tmp_path / "1.png"), str(tmp_path / "2.png"), "--output",
                  str(tmp_path / "out")])
    predictor = Predictor.from_preset("toy", folder / "small.npz")
    predictor.set_support(images[0], mask, "object")
    for number in (1, 2):
        written = cv2.imread(str(tmp_path / "out" / f"{number}.png.index.png"), -1)
        np.testing.assert_array_equal(written == 1, predictor.predict(images[number]).mask == 1)


def test_a_preset_as_a_run_answers_as_the_preset(folder, shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = as_run.preset_run("toy", folder / "small.npz")
    assert made.folder == Path("runs/toy") and len(list(Path("runs").iterdir())) == 1
    environment = json.loads((made.folder / "environment.json").read_text())
    assert environment["commit"] == Preset.load("toy").facts["training"]["commit"]
    images, mask = photos()
    predictor, from_run = (Predictor.from_preset("toy", folder / "small.npz"),
                           Predictor.from_preset("runs/toy"))
    card = predictor.set_support(images[0], mask, "thing")
    from_run.add_card(card)
    for ours, theirs in zip(predictor.predict_all(images[1:4]), from_run.predict_all(images[1:4]),
                            strict=True):
        np.testing.assert_array_equal(ours.index, theirs.index)
    for shots in (1, 3):
        assert from_run.threshold(shots) == pytest.approx(predictor.threshold(shots))
        assert from_run.presence_threshold(shots) == predictor.presence_threshold(shots)
    with pytest.raises(UserError, match="has its backbone"):
        Predictor.from_preset("runs/toy", folder / "small.npz")


def test_two_processes_make_a_preset_s_run_at_once(folder, shipped, tmp_path, monkeypatch):
    fill, target = as_run._fill, tmp_path / "run"

    def slower(made, *arguments):
        fill(made, *arguments)
        shutil.copytree(made, target)  # the other process

    monkeypatch.setattr(as_run, "_fill", slower)
    assert as_run.preset_run("toy", folder / "small.npz", target).folder == target
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_preset_s_run_is_made_once(folder, shipped, tmp_path):
    target = tmp_path / "deep" / "run"
    first = as_run.preset_run("toy", folder / "small.npz", target)
    written = first.model_path.stat().st_mtime_ns
    assert as_run.preset_run("toy", None, target).model_path.stat().st_mtime_ns == written
    first.save_model(first.model())  # what was trained there is no preset's any more
    assert first.model_sha256() != Preset.load("toy").sha256
    with pytest.raises(UserError, match="something else than preset toy"):
        as_run.preset_run("toy", folder / "small.npz", target)
    with pytest.raises(UserError, match="no such weights file"):
        as_run.preset_run("toy", tmp_path / "none.npz", tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep"]


def test_commands_take_a_preset(folder, shipped, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = ["--preset", "toy", "--weights", str(folder / "small.npz")]
    evaluate.main([*model, "--data.novel_classes", "[ring,disc]", "--evaluate.shots", "[1]",
                   "--evaluate.episodes", "6", "--evaluate.resamples", "20"])
    assert "1-shot, 6 episodes" in capsys.readouterr().out
    results, = Path("runs/toy/evaluations").glob("*.json")
    assert json.loads(results.read_text())["model_sha256"] == Preset.load("toy").sha256
    saved_model.main([*model, "--output", "models", "--no_warmup"])
    assert "preset toy as a run: runs/toy" in capsys.readouterr().out
    facts = json.loads(Path("models/1/assets/export.json").read_text())
    assert facts["model_sha256"] == Preset.load("toy").sha256
    assert "expected one of the two" in fails(capsys, ["runs/toy", *model], evaluate.main)
    assert "goes with --preset" in fails(capsys, ["runs/toy", *model[2:]], evaluate.main)


@pytest.mark.parametrize("model, expected", [
    (["--run_dir", "runs/a", "--weights", "small.npz"], "goes with --preset"),
    (["--run_dir", "runs/a", "--preset", "toy"], "not allowed with"), ([], "is required")])
def test_predict_takes_one_model(model, expected, capsys):
    words = ["--support", "a.jpg=a.png", "--input", "b.jpg", "--output", "out"]
    try:
        line = fails(capsys, [*model, *words], predict.main)
    except SystemExit:  # argparse's own
        line = capsys.readouterr().err
    assert expected in line


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, expected", [
    ("--scores scores.json", "--scores and --row"),
    ("--scores scores.json --row tuning", "expected one of: both"),
    ("--scores small.npz --row both", "not a file of scores"),
    ("--name my-toy", "letters, digits")])
def test_what_cannot_be_made_is_told_in_one_line(folder, capsys, monkeypatch, words, expected):
    monkeypatch.chdir(folder)
    assert expected in fails(capsys, ["toy", "--name", "toy", "--shapes", "0", "--output", "no",
                                      *words.split()], command.main)
    assert not (folder / "no").exists()


def test_a_file_over_the_limit_is_not_written(folder, toy, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "LIMIT", 20_000)
    line = fails(capsys, [str(folder / "toy"), "--name", "toy", "--shapes", "0", "--output",
                          str(tmp_path)], command.main)
    assert "0.02 MB at most" in line and "model.channels" in line and not list(tmp_path.iterdir())


def test_runs_that_make_no_preset(folder, monkeypatch):
    run = Run(folder / "toy")
    config = run.config()
    with monkeypatch.context() as patch:
        patch.setattr(run, "thresholds_path", folder / "none.json")
        with pytest.raises(UserError, match="no operating point for 1 shots; .*sst evaluate"):
            making.preset_of(run, "toy")
    record = run.folder / "environment.json"
    whole = record.read_text()
    try:
        for content in ("{", None):
            record.write_text(content) if content else record.unlink()
            with pytest.raises(UserError, match="environment.json: damaged .*from a copy"):
                making.preset_of(run, "toy")
    finally:  # other tests take the same run
        record.write_text(whole)
    with monkeypatch.context() as patch:
        config.model.train_backbone = True
        patch.setattr(run, "config", lambda: config)
        with pytest.raises(UserError, match="model.train_backbone"):
            making.preset_of(run, "toy")
    model = run.model()
    model.head.decoder.classify.bias.assign([1e5])
    monkeypatch.setattr(run, "model", lambda: model)
    with pytest.raises(UserError, match="classify/bias.*half precision"):
        making.preset_of(run, "toy")


def test_what_is_no_preset(folder, toy, tmp_path):
    with pytest.raises(UserError, match="no preset has this name; expected"):
        Predictor.from_preset("sst_resnet5000")
    with pytest.raises(DataError, match="No such file"):
        Preset.load(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(toy.read_bytes()[:500])
    for path in (tmp_path / "cut.npz", folder / "small.npz"):
        with pytest.raises(DataError, match="no preset"):
            Preset.load(path)
    preset = Preset.load(toy)
    Preset({**preset.facts, "format": 2}, preset.weights, preset.backbone).save(tmp_path)
    with pytest.raises(DataError, match="format 2, 1 is expected"):
        Preset.load(tmp_path / "toy.npz")
    with pytest.raises(DataError, match="not those of its configuration"):
        Preset(preset.facts, preset.weights[1:], preset.backbone).model(folder / "small.npz")


# ---- backbone weights ----------------------------------------------------------------------------


def test_weights_are_found_in_the_user_s_folder(folder, toy, nowhere):
    with pytest.raises(UserError) as caught:
        Predictor.from_preset(toy)
    text = str(caught.value)
    assert "preset toy: no weights of small" in text and str(nowhere) in text
    assert "put small.npz there" in text and "SST_WEIGHTS" in text and "\n" not in text
    with np.load(folder / "small.npz") as arrays:
        half = {name: arrays[name].astype(np.float16) for name in arrays.files}
    np.savez(nowhere / "small_half.npz", **half)
    assert Predictor.from_preset(toy).config.model.backbone == "small"
    np.savez(nowhere / "small_a.npz", **{name: value * 1.1 for name, value in half.items()})
    Predictor.from_preset(toy)  # the second of two files has what it was trained on
    (nowhere / "small_half.npz").unlink()
    with pytest.raises(UserError, match="small_a.npz: other weights than preset toy"):
        Predictor.from_preset(toy)
    with pytest.raises(UserError, match="no such weights file"):
        Predictor.from_preset(toy, weights=nowhere / "none.npz")


def test_those_that_keras_downloads_are_told_as_such():
    assert set(weight_files.FETCHED) == set(weight_files.HELP) & set(weights.APPLICATIONS)
    assert weight_files.advice("resnet50").startswith("Keras fetches them once")
    assert weight_files.advice("resnet18").startswith("put resnet18.npz")


def test_without_the_variable_the_folder_is_in_the_cache(monkeypatch):
    monkeypatch.delenv("SST_WEIGHTS", raising=False)
    assert str(weight_files.folder()) == os.path.expanduser("~/.cache/sst/weights")


def test_without_network_the_error_says_which_file_goes_where(nowhere):
    for name, file in (("resnet50", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
                       ("resnet18", "resnet18.npz")):
        backbone = backbones.BACKBONES[name]()
        with pytest.raises(UserError) as caught:
            backbone_weights.fill(backbone, fingerprint(backbone), f"sst_{name}")
        text = str(caught.value)
        assert f"put {file}" in text or f"put Keras' {file}" in text
        assert str(nowhere) in text and "docs/weights.md" in text or name == "resnet50"
        assert ("no network" in text) == (name == "resnet50") and "\n" not in text


def noisy(values, seed, share):
    """Values moved by up to `share` of themselves."""
    noise = np.random.default_rng(seed).uniform(-share, share, values.shape)
    return (values * (1 + noise)).astype(np.float32)


def test_a_fingerprint_outlives_rounding_and_nothing_else():
    """A hash of rounded values would not: float32 noise moves some over a rounding edge."""
    keras.utils.set_random_seed(0)
    backbone = backbones.resnet18()
    plain, wanted = arrays_of(backbone), fingerprint(backbone)

    def moved(change):
        for layer in backbone.layers:
            for v in layer.weights:
                v.assign(change(plain[f"{layer.name}/{v.name}"]))
        return difference(fingerprint(backbone), wanted)

    assert moved(lambda value: value) == 0
    assert moved(lambda value: value.astype(np.float16)) < backbone_weights.TOLERANCE / 3
    assert moved(lambda value: noisy(value, 0, 2**-23)) < 1e-5
    kernel = plain["layer3_1_conv2/kernel"]
    assert (kernel.astype(np.float16) != noisy(kernel, 0, 2**-23).astype(np.float16)).any()
    assert moved(lambda value: noisy(value, 0, 0.05)) > 3 * backbone_weights.TOLERANCE
    assert moved(lambda value: -value) > 1
    assert moved(lambda value: value * 1.01) > backbone_weights.TOLERANCE


def test_keras_own_weights_are_those_of_a_half_precision_copy(shared, tmp_path, monkeypatch):
    """What `imagenet` brings differs from our copy by the rounding of its kernels."""
    published = keras.applications.ResNet50(weights=None, include_top=False)
    path = shared / "weights" / "resnet50_conv1-conv4.npz"
    for name, value in weights.read(path).items():
        layer, variable = name.split("/")
        target = next(v for v in published.get_layer(layer).weights if v.name == variable)
        target.assign(noisy(value, 0, 2**-11) if variable == "kernel" else value)
    monkeypatch.setenv("SST_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **options: published)
    copy, filled = backbones.resnet50(), backbones.resnet50()
    weights.load(copy, str(path))
    backbone_weights.fill(filled, fingerprint(copy), "sst_resnet50")
    assert difference(fingerprint(filled), fingerprint(copy)) < backbone_weights.TOLERANCE / 3
    photo = np.random.default_rng(0).integers(0, 256, (1, 65, 65, 3)).astype(np.uint8)
    ours, theirs = (np.asarray(one(photo, training=False)) for one in (copy, filled))
    assert np.linalg.norm(theirs - ours) < 4e-3 * np.linalg.norm(ours)


# ---- what is shipped -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_a_shipped_preset_has_its_card_and_keeps_its_size(name):
    preset = Preset.load(name)
    assert preset.name == name
    backbone = preset.facts["config"]["model"]["backbone"]
    assert len(preset.data) <= stored.LIMITS.get(backbone, stored.LIMIT)
    assert (stored.HERE / f"{name}.md").read_text() == card(preset)
    assert preset.facts["scores"]["folds"] and preset.facts["scores"]["shapes"]


@pytest.mark.parametrize("name", presets())
def test_a_shipped_preset_finds_a_class_in_a_real_photo(name, shared, monkeypatch):
    """One photo shown, another of the class asked: foreground lies on the object."""
    monkeypatch.setenv("SST_WEIGHTS", str(shared / "weights"))
    source = open_source("voc", root=shared / "data" / "mini80")
    cat = source.classes.index("cat") + 1
    areas = {n: (source.class_mask(n, cat) == 1).mean() for n in source.image_ids("all")
             if cat in source.class_masks(n)}
    support, query = sorted(areas, key=areas.get)[-2:]
    predictor = Predictor.from_preset(name, empty=False)
    predictor.set_support(source.read_image(support), source.class_mask(support, cat), "cat")
    answer, truth = predictor.predict(source.read_image(query)), source.class_mask(query, cat)
    assert answer.mask.shape == truth.shape
    counted = truth != 255
    overlap = (answer.mask == 1) & (truth == 1)
    union = ((answer.mask == 1) & counted) | (truth == 1)
    assert overlap.sum() > 0.4 * union.sum()


def test_a_preset_reads_photos_from_files(folder, toy, tmp_path):
    images, mask = photos()
    for number, image in enumerate(images[:2]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    predictor = Predictor.from_preset(str(toy), str(folder / "small.npz"), empty=False)
    predictor.set_support(tmp_path / "0.png", mask)
    assert predictor.predict(tmp_path / "1.png").mask.shape == images[1].shape[:2]


def test_shapes_are_asked_as_the_preset_is(folder, toy, monkeypatch):
    """Its threshold is of its second look, too."""
    preset = Preset.load(toy)
    model, found = preset.model(folder / "small.npz"), {}
    scored, asked = out_of_domain.score, []
    monkeypatch.setattr(out_of_domain, "score", lambda model, bank, *arguments, **more: (
        asked.append(bank.options.second_look), scored(model, bank, *arguments, **more))[1])
    for look in (0.0, 0.9):
        preset.facts["config"]["model"]["second_look"] = look
        found[look] = out_of_domain.on_shapes(preset, model, 12)
    assert asked == [0.0, 0.9] and found[0.0]["preset"] != found[0.9]["preset"]
    assert found[0.0]["prototype"] == found[0.9]["prototype"]


# ---- training from one ---------------------------------------------------------------------------


def few_photos(folder):
    """A folder of marked photos: five of each of two drawn classes."""
    source = open_source("shapes", image_size=65, count=60, seed=9)
    for class_name in ("ring", "star"):
        number = source.classes.index(class_name) + 1
        (folder / class_name).mkdir(parents=True)
        names = [name for name in source.image_ids("all") if number in source.class_masks(name)]
        for name in names[:5]:
            path = folder / class_name / f"{name}.jpg"
            cv2.imwrite(str(path), source.read_image(name)[..., ::-1])
            cv2.imwrite(str(path.with_suffix(".png")), source.class_mask(name, number) * 255)
    return folder


TINY = ["finetune", "--model.backbone", "small", "--model.channels", "16",
        "--model.second_look", "0", "--data.image_size", "65", "--train.epochs", "1",
        "--train.steps_per_epoch", "2", "--train.batch", "2",
        "--evaluate.shots", "[1,3]", "--evaluate.absent_episodes", "4"]


def test_training_starts_from_a_preset_and_keeps_its_points(folder, toy, tmp_path, monkeypatch,
                                                            eagerly):
    monkeypatch.chdir(tmp_path)
    few = few_photos(tmp_path / "mine")
    tiny = [*TINY, "--data.root", str(few), "--model.weights", str(folder / "small.npz")]
    train.main([*tiny, "--train.init", str(toy), "--run_dir", "first",
                "--optimizer.learning_rate", "1e-12"])
    run, preset = Run("first"), Preset.load(toy)
    expected = preset.model(folder / "small.npz").get_weights()
    for ours, theirs in zip(run.model().get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    predictor = Predictor.from_run("first")
    for shots in (1, 3):
        assert predictor.threshold(shots) == pytest.approx(preset.threshold(shots))
        assert predictor.presence_threshold(shots) == preset.presence_threshold(shots)
    train.main([*tiny, "--train.init", "first", "--run_dir", "second"])
    moved = [np.abs(a - b).max() for a, b in zip(
        Run("second").model().own_weights, run.model().own_weights, strict=True)]
    assert max(moved) > 1e-5
    assert Predictor.from_run("second").threshold(3) == pytest.approx(preset.threshold(3))
    assert Run("second").identity()["train"]["init"] != run.identity()["train"]["init"]
    known = preset.facts["training"]["classes"]["base"]
    assert set(Run("second").trained_on()) == {"ring", "star", *known} >= set(run.trained_on())


def test_a_preset_of_a_run_that_began_as_one_says_so(folder, toy, tmp_path, monkeypatch, eagerly):
    """Its card names what made the weights, whose terms these are, and whose thresholds."""
    monkeypatch.chdir(tmp_path)
    few = few_photos(tmp_path / "mine")
    monkeypatch.setenv("SST_WEIGHTS", str(folder))
    train.main([*TINY, "--data.root", str(few), "--train.init", str(toy), "--run_dir", "first",
                "--model.weights", str(folder / "small.npz")])
    path = Run("first").folder / "config.yaml"  # as of a backbone that was looked for
    path.write_text(path.read_text().replace(str(folder / "small.npz"), "none"))
    command.main(["first", "--name", "mine", "--output", str(tmp_path), "--shapes", "2"])
    training, text = Preset.load(tmp_path / "mine.npz").facts["training"], (
        tmp_path / "mine.md").read_text()
    began = Preset.load(toy).facts["training"]
    assert training["photos"]["before"] == began["photos"]["train"]
    for words in ("none were held out, so the last epoch is the result", f"Those of `{toy.stem}`",
                  f"It began as `{toy.stem}`, which was trained on", began["classes"]["base"][-1],
                  "drawn by this package", "`folder`: ask whoever gave you"):
        assert words in text, words


def test_a_start_that_held_out_other_photos_says_so(capsys):
    theirs = Config(data=DataConfig(dataset="voc", split_seed=1))
    start = Start([], None, theirs, [], {})
    start.tell_other_photos_held_out(theirs)
    start.tell_other_photos_held_out(Config(data=DataConfig(dataset="shapes", split_seed=0)))
    assert not capsys.readouterr().err
    start.tell_other_photos_held_out(Config(data=DataConfig(dataset="voc", split_seed=0)))
    assert "was trained with data.split_seed 1; with 0 it may" in capsys.readouterr().err


def test_a_folder_of_a_preset_s_name_hides_it_from_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = presets()[0]
    for folder in (name, "run"):
        (tmp_path / folder).mkdir()
    assert not is_run(name) and is_run("run") and not is_run("nowhere")
    assert is_run(f"./{name}")


@pytest.mark.parametrize("words, expected", [
    (["--train.init", "sst_resnet5000"], "no preset has this name"),
    (["--model.channels", "32"], "was trained with model.channels 16, expected 32"),
    (["--model.embedding_kernel", "1"], "was trained with model.embedding_kernel 3, expected 1"),
    (["--model.second_look", "0.2"], "thresholds are of model.second_look 0.0, not 0.2"),
    (["--data.image_size", "49"], "thresholds are of data.image_size 65, not 49"),
    (["--data.resize", "pad"], "set data.resize to squash"),
    (["--tuner.step_size", "3.0"], "thresholds are of tuner.step_size 0.1, not 3.0"),
    (["--model.fusion", "average"], "set model.fusion to weighted"),
    (["--pretrain.steps", "5"], "train.init"),
    (["--tuner.step_size", "learned", "--tuner.second_order", "true", "--data.validation_share",
      "0.4", "--evaluate.shots", "[1]"], "set tuner.steps and"),
    (["--train.init", "null"], "data.validation_share 0.0: no photos are held out")])
def test_starts_that_do_not_fit(words, expected, folder, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = few_photos(tmp_path / "mine")
    tiny = [*TINY, "--data.root", str(few), "--model.weights", str(folder / "small.npz")]
    assert expected in fails(capsys, [*tiny, "--train.init", str(toy), *words], train.main)
