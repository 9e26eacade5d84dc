# SPDX-License-Identifier: Apache-2.0
"""Evaluation under other options: runs, protocols, views, N ways, several processes."""

import dataclasses
import json
import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import open_source
from pipelines.errors import UserError
from pipelines.index import build_index, split_pairs
from pipelines.protocols import PROTOCOLS
from pipelines.sampler import EpisodeSampler, WayEpisode, episodes_sha256, load_episodes
from sst_tf import compare, evaluate, train
from sst_tf.config import Config, DataConfig, EvaluateConfig, parse, parser, resolved
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.run_data import open_data
from sst_tf.data.scoring_options import PLAIN, ScoringOptions
from sst_tf.data.seeds import VALIDATION
from sst_tf.evaluation import metrics, multiclass, protocol_options, stored
from sst_tf.evaluation.scoring import Scored, score, tune
from sst_tf.runs.directory import Run
from tests.export.conftest import make_run
from tests.sst_tf.conftest import build

SIDE = 33
QUICK = ["--evaluate.episodes", "21", "--evaluate.shots", "[1]", "--evaluate.resamples", "20",
         "--evaluate.threshold_episodes", "6", "--evaluate.absent_episodes", "0"]

pytestmark = pytest.mark.usefixtures("kept_models")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=SIDE, count=120))


def results(run, *extra, name=""):
    evaluate.main([str(run.folder), *QUICK, *extra])
    return json.loads(newest(run, name).read_text())


def newest(run, name="", suffix=".json"):
    """Of the files of this name under the protocol's hash."""
    found = [path for path in run.evaluation_path("x").parent.glob(f"novel_1shot{name}_*{suffix}")
             if re.fullmatch("_[0-9a-f]{8}", path.stem.removeprefix(f"novel_1shot{name}"))]
    return max(found, key=lambda path: path.stat().st_mtime_ns)


# ---- several processes ---------------------------------------------------------------------------


def test_processes_share_the_work_and_change_no_number(run):
    one = results(run)
    counts = dict(np.load(newest(run, suffix=".npz")))
    three = results(run, "--evaluate.processes", "3")
    for key in ("scores", "protocol"):
        assert one[key] == three[key], key
    for key in ("gauges", "support_iou"):  # means of floats: rounded as a batch's size has it
        assert one[key] == pytest.approx(three[key], rel=1e-6), key
    again = np.load(newest(run, suffix=".npz"))
    for key, values in counts.items():
        np.testing.assert_array_equal(values, again[key])


def test_the_order_of_supports_changes_no_bit():
    rng = np.random.default_rng(0)
    supports = [((f"p{i}", 1), tuple(rng.random(3).tolist())) for i in range(1000)]
    one, other = (Scored({}, dict(some)) for some in (supports, supports[::3] + supports[1::3]
                                                      + supports[2::3]))
    assert one.support_iou == other.support_iou
    assert one.relative_update == other.relative_update


def test_what_a_process_fails_of_is_said(run, tmp_path):
    from sst_tf.evaluation import parallel
    episodes = [SimpleNamespace(query="a"), SimpleNamespace(query="b")]
    broken = Run(shutil.copytree(run.folder, tmp_path / "run"))
    (broken.folder / "config.yaml").unlink()
    with pytest.raises(UserError, match="config.yaml: not there"):
        parallel.score_sharded(broken, run.config(), episodes, ScoringOptions(), 1)


# ---- several runs, replay ------------------------------------------------------------------------


def test_several_runs_have_mean_and_deviation(run):
    found = results(run, "--evaluate.runs", "3", name="_3runs")
    several = found["scores"]["tuned"]["runs"]
    assert len(several["miou"]) == 3 and len(set(several["miou"])) > 1
    assert several["mean"] == pytest.approx(np.mean(several["miou"]))
    assert several["sd"] == pytest.approx(np.std(several["miou"], ddof=1))
    assert several["miou"][0] == pytest.approx(results(run)["scores"]["tuned"]["miou"])
    assert found["protocol"]["episodes"] == 63


def test_an_episode_file_is_replayed(run, tmp_path, capsys):
    first = results(run)
    path = newest(run, suffix=".jsonl")
    assert len(load_episodes(path)) == 21
    again = results(run, "--evaluate.episode_file", str(path), "--evaluate.seed", "5",
                    name="_replayed")
    assert again["scores"] == first["scores"]
    assert again["protocol"]["episodes_sha256"] == first["protocol"]["episodes_sha256"]
    lines = path.read_text().splitlines()
    (tmp_path / "other.jsonl").write_text(lines[0].replace('"query": "', '"query": "no'))
    with pytest.raises(SystemExit):
        results(run, "--evaluate.episode_file", str(tmp_path / "other.jsonl"))
    assert "line 1: photo no" in capsys.readouterr().err
    # Supports of another class would be scored as if nothing were wrong.
    other = json.loads(lines[1])
    other["support_class_id"] += 1
    (tmp_path / "other.jsonl").write_text(f"{lines[0]}\n{json.dumps(other)}\n")
    with pytest.raises(SystemExit):
        results(run, "--evaluate.episode_file", str(tmp_path / "other.jsonl"))
    assert (f"{tmp_path / 'other.jsonl'}: line 2: support_class_id {other['support_class_id']}, "
            f"class_id {other['class_id']}") in capsys.readouterr().err


def test_the_file_says_all_that_repeats_it(run):
    found = results(run)
    assert found["config"]["data"]["image_size"] == SIDE and found["config"]["tuner"]
    for key in ("commit", "versions", "command", "config_sha256", "model_sha256"):
        assert found[key], key


# ---- protocols -----------------------------------------------------------------------------------


@pytest.fixture
def pfenet(monkeypatch):
    """PFENet's protocol at a size for tests."""
    small = dataclasses.replace(PROTOCOLS["pfenet"], image_size=SIDE, pair_filter="none",
                                episodes=30)
    monkeypatch.setitem(PROTOCOLS, "pfenet", small)


def test_a_preset_sets_episodes_size_and_scoring(run, pfenet, capsys):
    found = results(run, "--evaluate.protocol", "pfenet", "--evaluate.episodes", "0",
                    "--evaluate.runs", "0", name="_pfenet")
    protocol = found["protocol"]
    assert (protocol["episodes"], protocol["resize"], protocol["scoring"]) == (30, "pad",
                                                                             "original")
    assert any(key.startswith("1 pfenet ") for key in run.thresholds())  # its own operating point
    with pytest.raises(SystemExit):
        compare.main([str(run.folder), str(run.folder), "--name", "missing"])
    assert "not there" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["canet", "pfenet", "repri", "panet", "bam"])
def test_every_preset_is_known(name):
    config = Config(data=DataConfig(novel_split="val", train_split="trainaug"),
                    evaluate=EvaluateConfig(protocol=name))
    made = protocol_options.under_protocol(config)
    preset = PROTOCOLS[name]
    assert (made.data.image_size, made.data.resize, made.data.pair_filter) == (
        preset.image_size, preset.resize, preset.pair_filter)
    assert made.data.novel_split == ("trainaug" if name == "panet" else "val")
    assert protocol_options.counting(config).void_query == preset.void_query


def test_a_published_list_is_asked_for(run, capsys):
    with pytest.raises(SystemExit):
        results(run, "--evaluate.protocol", "hsnet")
    assert "--evaluate.pair_list FILE" in capsys.readouterr().err


def test_training_does_not_end_under_another_protocol(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["--evaluate.protocol", "bam", "--run_dir", str(tmp_path / "run")])
    assert "sst evaluate RUN --evaluate.protocol bam" in capsys.readouterr().err


class Wide:
    """One photo of 40 x 60 with an object and a rim of void."""

    def read_image(self, name):
        return np.zeros((40, 60, 3), np.uint8)

    def class_mask(self, name, class_id, ignore_ids=()):
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 20:40] = 1
        mask[9] = 255
        return mask


def bank_of(options, resize="pad"):
    return PhotoBank(Wide(), [], 64, options, resize=resize)


def test_scoring_at_the_photo_s_size_and_void():
    probability = np.zeros((64, 64), np.float32)
    probability[:40] = 1  # what a padded photo of 40 rows fills
    answer, truth = bank_of(ScoringOptions(scoring="original")).judge(probability, "a", 1)
    assert answer.shape == truth.shape == (40, 60) and answer.min() == 1
    assert (truth == 255).sum() == 60
    _, truth = bank_of(ScoringOptions(scoring="original", void_query="background")).judge(
        probability, "a", 1)
    assert (truth == 255).sum() == 0
    padded = bank_of(ScoringOptions(void_query="background")).judge(probability, "a", 1)[1]
    assert (padded[40:] == 255).all() and (padded[:40, :56] != 255).all()  # padding never counts
    marked = bank_of(ScoringOptions(void_support="background")).support_mask("a", 1)
    assert (marked[:40] != 255).all() and (marked[40:] == 255).all()
    assert (bank_of(ScoringOptions()).support_mask("a", 1)[:40] == 255).any()


# ---- views ---------------------------------------------------------------------------------------


class Symmetric:
    """The shapes, each beside its mirror image."""

    def __init__(self, source):
        self.source, self.classes, self.name = source, source.classes, "symmetric"

    def __getattr__(self, name):
        return getattr(self.source, name)

    def read_image(self, image_id):
        image = np.asarray(self.source.read_image(image_id))
        return np.maximum(image, image[:, ::-1])

    def class_mask(self, image_id, class_id, ignore_ids=()):
        mask = self.source.class_mask(image_id, class_id)
        return np.maximum(mask, mask[:, ::-1])


def test_views_are_averaged():
    source = open_source("shapes", image_size=SIDE, count=40)
    pairs = split_pairs(build_index(source, source.image_ids("all")), (20,), "base")
    episodes = EpisodeSampler(pairs, 1, 0, skip_small=True).take(10)
    model = build()

    def counts(source, *views):
        bank = PhotoBank(source, episodes, SIDE, ScoringOptions(tuple(views)))
        return score(model, bank, episodes, 4).counts["tuned"].histogram

    plain = counts(source, PLAIN)
    np.testing.assert_array_equal(counts(source, PLAIN, PLAIN), plain)
    assert (counts(source, (1.0, True)) != plain).any()
    assert (counts(source, (1.3, False)) != plain).any()
    symmetric = Symmetric(source)  # mirrored photos are the same: so must the answers be
    np.testing.assert_array_equal(counts(symmetric, (1.0, True)), counts(symmetric, PLAIN))


def test_views_have_their_own_file_and_threshold(run):
    results(run)
    found = results(run, "--evaluate.scales", "[0.75,1]", "--evaluate.flip", "true",
                    name="_views0.75-1flip")
    assert found["protocol"]["views"] == [[0.75, False], [0.75, True], [1.0, False], [1.0, True]]
    assert any("0.75" in key for key in run.thresholds())
    with pytest.raises(Exception, match="views"):
        stored.refuse_unequal([stored.Evaluation(run.folder, 1, name) for name in (
            "novel_1shot_views0.75-1flip", "novel_1shot")])


def test_a_second_look_has_its_own_file_threshold_and_answers(run):
    once = results(run)
    found = results(run, "--model.second_look", "0.4", "--evaluate.processes", "2",
                    name="_look0.4")
    assert found["protocol"]["second_look"] == 0.4 and "second_look" not in once["protocol"]
    assert any("look 0.4" in key for key in run.thresholds())
    counts = [np.load(newest(run, name, ".npz"))["tuned_half"] for name in ("", "_look0.4")]
    assert (counts[0] != counts[1]).any()
    # Of the same episodes, so that `sst compare` pairs them.
    stored.refuse_unequal([stored.Evaluation(run.folder, 1, path.stem) for path in (
        newest(run), newest(run, "_look0.4"))])


# ---- N ways --------------------------------------------------------------------------------------


def test_each_pixel_goes_to_one_class():
    class Truth:
        def judge(self, mine, name, class_id):
            truth = np.zeros((2, 4), np.uint8)
            if class_id == 7:
                truth[:, :2] = 1
            truth[0, 3] = 255
            return mine, truth

    episode = WayEpisode(0, (7, 3), (("a",), ("b",)), "q")
    counts = multiclass._empty([episode])
    answers = np.array([[[[.9, .4, .6, .9], [.9, .9, .3, .2]]],
                        [[[.2, .8, .5, .1], [.3, .3, .7, .2]]]])  # [N, B, S, S]
    multiclass.put(counts, [0], [episode], Truth(), answers, 0.5)
    tp, fp, fn, tn = counts.at(metrics.HALF)
    # class 7 gets three true pixels and (0, 2), the void one counts nowhere; class 3, which the
    # photo does not show, gets (0, 1) and (1, 2)
    np.testing.assert_array_equal([tp, fp, fn], [[3, 0], [1, 2], [1, 0]])


def test_two_ways_are_evaluated(run):
    found = results(run, "--evaluate.ways", "2", name="_2way")
    entry = found["scores"]["tuned"]
    assert found["protocol"]["ways"] == 2 and 0 <= entry["miou"] <= 1
    kept = load_episodes(newest(run, "_2way", ".jsonl"))
    assert episodes_sha256(kept) == found["protocol"]["episodes_sha256"]
    assert len(entry["per_class"]) == 5 and entry["threshold"]["interval"]
    assert "untuned" in found["scores"]
    results(run)
    with pytest.raises(Exception, match="differ in ways"):
        stored.refuse_unequal([stored.Evaluation(run.folder, 1, name) for name in (
            "novel_1shot_2way", "novel_1shot")])
    compare.main([str(run.folder), str(run.folder), "--name", "novel_1shot_2way"])


def test_the_supports_of_several_ways_are_averaged_exactly(run, monkeypatch):
    kept = {}

    def recorded(*arguments, **options):
        kept.update(tune(*arguments, **options))
        return kept

    monkeypatch.setattr(multiclass, "tune", recorded)
    found = results(run, "--evaluate.ways", "2", name="_2way")
    for name, key in (("before", "score"), ("after", "score_after")):
        values = [float(one[key]) for one in kept.values()]
        assert found["support_iou"][name] == math.fsum(values) / len(values)
    values = [float(one["relative_update"]) for one in kept.values()]
    assert found["gauges"]["relative_update"] == math.fsum(values) / len(values)


@pytest.mark.parametrize("other", [("runs", "2"), ("flip", "true"), ("scales", "[0.5]")])
def test_ways_do_not_drop_other_rules_without_a_word(run, capsys, other):
    with pytest.raises(SystemExit):
        results(run, "--evaluate.ways", "2", f"--evaluate.{other[0]}", other[1])
    assert "evaluate.ways 2: not together" in capsys.readouterr().err


# ---- defaults and seeds --------------------------------------------------------------------------


def test_a_protocol_has_its_own_episodes_unless_the_user_sets_them(run, tmp_path):
    """The run's record says 1,000, of its own protocol."""
    record = Run.create(tmp_path / "run", run.config(["--evaluate.episodes", "1000"])).folder

    def asked(*words):
        path = str(record / "config.yaml")
        config = resolved(parse(parser(), words, path, record=True)[0])
        return config.evaluate.episodes, config.evaluate.runs

    assert asked() == (1000, 1)
    assert asked("--evaluate.protocol", "pfenet") == (5000, 1)
    assert asked("--evaluate.protocol", "bam") == (1000, 5)
    assert asked("--evaluate.protocol", "pfenet", "--evaluate.episodes", "30") == (30, 1)
    assert asked("--evaluate.episodes", "30", "--evaluate.runs", "2") == (30, 2)
    assert resolved(Config()).evaluate.episodes == 1000


def test_no_run_repeats_validation_s_novel_episodes(run):
    data = open_data(run.config())
    seen = {(e.query, e.support) for e in data.sampler("novel", 1, VALIDATION).take(40)}
    for seed in range(3):
        settings = resolved(run.config(["--evaluate.runs", "3", "--evaluate.episodes", "40",
                                        "--evaluate.seed", str(seed)])).evaluate
        drawn = [[(e.query, e.support) for e in one]
                 for one in protocol_options.test_runs(settings, data, 1)]
        assert len({str(one) for one in drawn}) == 3
        assert all(set(one) != seen for one in drawn)
        if seed == 0:  # the episodes of the published tables
            assert drawn[0] == [(e.query, e.support)
                                for e in data.sampler("novel", 1, 0).take(40)]
