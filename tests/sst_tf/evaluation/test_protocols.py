# SPDX-License-Identifier: Apache-2.0
"""Several papers' protocols for one run by one command: lists, sizes, files, resuming."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import DataError, UserError
from pipelines.index import build
from pipelines.protocols import PROTOCOLS, protocol, protocol_episodes
from pipelines.sampler import load_episodes
from sst_tf import evaluate
from sst_tf.config import Config, DataConfig, EvaluateConfig, TrainConfig, identity
from sst_tf.data.run_data import open_data
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.evaluation.protocol_options import published_list, under_protocol
from sst_tf.runs.directory import Run
from tests.export.conftest import make_run
from tests.pipelines.tiny_voc import write_tiny_voc
from tests.sst_tf.test_commands import fails

pytestmark = pytest.mark.usefixtures("kept_models")

QUICK = ["--evaluate.shots", "[1]", "--evaluate.resamples", "20",
         "--evaluate.threshold_episodes", "6", "--evaluate.absent_episodes", "0"]
VAL = range(40, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos whose training and test split are apart, and the list of the test split's pairs."""
    folder = tmp_path_factory.mktemp("protocols")
    write_tiny_voc(folder / "data", photos=64, suffix=".jpg")
    splits = folder / "data" / "ImageSets" / "Segmentation"
    for split, numbers in (("train", range(40)), ("val", VAL)):
        (splits / f"{split}.txt").write_text("".join(f"p{n:02d}\n" for n in numbers))
    (folder / "lists" / "val").mkdir(parents=True)
    for fold in range(4):  # cup is class 1, of fold 0, and so on
        (folder / "lists" / "val" / f"fold{fold}.txt").write_text(
            "".join(f"p{n:02d}__{n % 4 + 1:02d}\n" for n in reversed(VAL) if n % 4 == fold))
    return folder


@pytest.fixture
def small(monkeypatch):
    """The protocols at sizes for tests, and pair filters that small objects pass."""
    for name, side, episodes in (("hsnet", 49, 12), ("pfenet", 41, 14)):
        monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(
            PROTOCOLS[name], image_size=side, episodes=episodes))
    for name in ("area2048", "oslsm"):
        monkeypatch.setitem(build.PAIR_FILTERS, name, np.any)


@pytest.fixture
def run(folder, small, tmp_path):  # what is kept of masks is under these filters
    made = make_run(tmp_path / "run", DataConfig(
        dataset="voc", root=str(folder / "data"), train_split="train", novel_split="val", fold=1,
        novel_policy="keep", validation_share=0.4, image_size=33))
    return Run.create(made.folder, made.config([*QUICK, "--evaluate.episodes", "8"]))


def test_one_command_gives_three_protocols_and_resumes(run, folder, small, capsys):
    command = [str(run.folder), "--protocols", "sst", "hsnet", "pfenet", "--lists",
               str(folder / "lists")]

    def files():
        return {path.name: path.stat().st_mtime_ns
                for path in run.evaluation_path("x").parent.glob("*.json")}

    evaluate.main(command)
    printed, first = capsys.readouterr().out, files()
    found = {}
    for name in first:
        protocol = json.loads((run.evaluation_path("x").parent / name).read_text())["protocol"]
        found[protocol["name"]] = protocol
    assert {name: (one["episodes"], one["image_size"], one["scoring"], one["pair_filter"])
            for name, one in found.items()} == {
        "sst": (8, 33, "network", "none"), "hsnet": (12, 49, "network", "list"),
        "pfenet": (14, 41, "original", "area2048")}
    assert "novel_1shot.json" in first and len(first) == 3
    rows = [line.split() for line in printed.split("protocol  ")[1].splitlines()[1:4]]
    assert [row[:5] for row in rows] == [[name, "1", *(str(found[name][key]) for key in (
        "episodes", "photos", "image_size"))] for name in ("sst", "hsnet", "pfenet")]
    assert all(len(row) == 17 for row in rows)  # both intervals, both FB-IoUs, nothing left out
    queries = [e.query for path in run.evaluation_path("x").parent.glob("*hsnet*.jsonl")
               for e in load_episodes(path)]
    assert queries[:6] == [f"p{n}" for n in (61, 57, 53, 49, 45, 41)]  # the list's order

    evaluate.main(command)
    assert files() == first and capsys.readouterr().out.count("there already") == 3
    evaluate.main([*command, "--again"])
    again = files()
    assert again.keys() == first.keys() and all(again[name] > first[name] for name in first)
    run.save_model(run.model())  # another file: what is there is of another model
    evaluate.main([*command[:2], "sst"])
    assert files()["novel_1shot.json"] > again["novel_1shot.json"]


def test_where_all_classes_are_tested_the_run_keeps_its_own_threshold(run, folder, small):
    """Nothing is left to choose one on, and novel classes must not."""
    OperatingPoint(run).keep(1, {"tuned": 37, "untuned": 61})
    before = run.thresholds()
    evaluate.main([str(run.folder), "--data.novel_classes",
                   "[cup,fork,knife,plate]", "--data.novel_split", "all"])
    path, = run.evaluation_path("x").parent.glob("novel_1shot_*.json")
    scores = json.loads(path.read_text())["scores"]
    assert [scores[name]["threshold"]["chosen"] for name in ("tuned", "untuned")] == [0.37, 0.61]
    assert set(scores["tuned"]["per_class"]) == {"cup", "fork", "plate"}  # what 8 episodes drew
    assert run.thresholds() == before


def test_a_list_of_the_test_photos_is_not_looked_for_among_the_training_photos(run, folder, small):
    config = run.config(["--evaluate.protocol", "hsnet", "--evaluate.pair_list",
                         str(folder / "lists/val/fold1.txt")])
    data = open_data(under_protocol(config))
    assert [pair.image_id for pair in data.novel] == [f"p{n}" for n in (61, 57, 53, 49, 45, 41)]
    assert {pair.class_id for pair in data.train + data.validation} == {1, 3, 4}


@pytest.mark.parametrize("name, base", [("hsnet", "oslsm"), ("pfenet", "area2048"),
                                        ("panet", "none")])
def test_the_training_s_own_pair_filter_is_of_no_other_protocol(folder, name, base):
    """A run that was trained on a list of its own is tested on none of it, nor the reverse."""
    own = str(folder / "lists/val/fold0.txt")
    listed = str(folder / "lists/val/fold1.txt") if name == "hsnet" else None
    config = Config(data=DataConfig(pair_filter=own),
                    evaluate=EvaluateConfig(protocol=name, pair_list=listed))
    made = under_protocol(config)
    assert (made.data.pair_filter, made.evaluate.pair_list) == (base, listed)
    assert under_protocol(Config(data=DataConfig(pair_filter=own))).data.pair_filter == own
    if name == "hsnet":
        with pytest.raises(UserError, match="give its path as --evaluate.pair_list"):
            under_protocol(dataclasses.replace(config, evaluate=EvaluateConfig(protocol=name)))


def test_features_are_kept_at_the_run_s_own_size_alone():
    config = Config(data=DataConfig(image_size=321), train=TrainConfig(cache_features=True))
    for name, kept in (("sst", True), ("canet", True), ("pfenet", False)):
        made = under_protocol(dataclasses.replace(config, evaluate=EvaluateConfig(protocol=name)))
        assert made.train.cache_features == kept, name


def test_an_added_key_at_its_default_leaves_earlier_runs_what_they_are():
    assert "pair_list" not in identity(Config())["evaluate"]
    listed = Config(evaluate=EvaluateConfig(protocol="hsnet", pair_list="no/fold0.txt"))
    assert identity(listed)["evaluate"]["pair_list"] == "fold0.txt"


def test_missing_and_wrong_lists_are_told_in_a_line(run, folder, small, tmp_path, capsys):
    command = [str(run.folder), "--protocols", "hsnet"]
    assert "--lists FOLDER" in fails(capsys, command, evaluate.main)
    line = fails(capsys, [*command, "--lists", str(tmp_path)], evaluate.main)
    assert f"--lists {tmp_path}: no val/fold1.txt or fold1.txt in it" in line
    line = fails(capsys, [*command, "--lists", str(folder / "lists/val/fold0.txt")], evaluate.main)
    assert "lists class cup" in line and "expected pairs of the novel classes alone (fork)" in line
    line = fails(capsys, [*command[:2], "sst", "--evaluate.protocol", "bam"], evaluate.main)
    assert "not together with --protocols" in line
    line = fails(capsys, [str(run.folder), "--evaluate.pair_list", "x"], evaluate.main)
    assert "draws from no published list" in line
    (tmp_path / "empty.txt").write_text("\n")
    line = fails(capsys, [*command, "--lists", str(tmp_path / "empty.txt")], evaluate.main)
    assert "no photo to test novel class fork on" in line


def test_a_folder_of_lists_has_the_fold_s(folder):
    path = published_list(folder / "lists", DataConfig(fold=2))
    assert Path(path) == folder / "lists/val/fold2.txt"
    assert published_list(folder / "lists/val", DataConfig(fold=2)) == path
    with pytest.raises(UserError, match="no numbered fold"):
        published_list(folder / "lists", DataConfig(novel_classes=["cup"]))


@pytest.mark.parametrize("name", ["hsnet", "pfenet", "panet"])
def test_no_pairs_end_in_an_error(name):
    """They were drawn from for ever."""
    with pytest.raises(DataError, match="no pair of a novel class"):
        protocol_episodes(protocol(name), [], 1)
