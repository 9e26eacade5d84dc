# SPDX-License-Identifier: Apache-2.0
"""Files that were cut short or of which a bit has changed: named, never used silently."""

import random

import numpy as np
import pytest

from pipelines.errors import DataError, UserError
from pipelines.sealed import read_sealed, write_sealed
from sst_tf.config import DataConfig
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.photos.class_card import ClassCard
from sst_tf.presets.preset import Preset
from sst_tf.runs.directory import Run
from tests.export.conftest import make_run

TIMES = 9  # damages of each kind of file


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=65, count=60))
    run.thresholds_path.unlink()
    OperatingPoint(run).keep(1, {"tuned": 40})
    OperatingPoint(run).keep_presence(1, {"threshold": 0.25, "auc": 0.75})
    model = run.model()
    model.compile(optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    run.save_last(model, {"epoch": 3})
    return run


def arrays_of(model):
    return [variable.numpy() for variable in model.weights]


def last_of(run):
    model = run.model()
    model.compile(optimizer="adam")
    return [run.restore_last(model)["epoch"], *arrays_of(model)]


def card_of(path):
    card = ClassCard.load(path)
    return [card.name, card.prototype, card.score, card.thumbnail]


def preset_of(path):
    preset = Preset.load(path)
    return [str(preset.facts), *preset.weights, preset.backbone]


@pytest.fixture
def reading(run, tmp_path):
    """(path, what reads it) of a kind of file."""
    def of(kind):
        path = tmp_path / "file.npz"
        if kind == "model":
            return run.model_path, lambda: arrays_of(run.model())
        if kind == "last":
            return run.last_path, lambda: last_of(run)
        if kind == "thresholds":
            return run.thresholds_path, lambda: [str(run.thresholds())]
        if kind == "presence":
            return run.presence_path, lambda: [str(run.presence())]
        if kind == "card":
            ClassCard("mug", np.ones((1, 64), np.float32), np.ones((1, 64), np.float32),
                      np.ones(1, np.float32), np.ones(1, np.float32), b"picture", ("mask",), "0"
                      ).save(path)
            return path, lambda: card_of(path)
        if kind == "preset":
            facts = {"format": 1, "name": "x", "config": {"model": {"backbone": "small"}}}
            path.write_bytes(Preset(facts, [np.ones((4, 4), np.float16)], np.ones(3)).data)
            return path, lambda: preset_of(path)
        path = tmp_path / "novel_1shot.json"
        write_sealed(path, {"scores": {"tuned": {"miou": 0.5123}}, "shots": (1, 5)})
        return path, lambda: [str(read_sealed(path, "evaluate again"))]

    return of


@pytest.mark.parametrize("kind", ["model", "last", "thresholds", "presence", "card", "preset",
                                  "results"])
def test_a_changed_bit_or_a_cut_is_told(reading, kind):
    path, read = reading(kind)
    good, expected, rng = path.read_bytes(), read(), random.Random(kind)
    told = 0
    try:
        for number in range(TIMES):
            data = bytearray(good)
            if number % 3 == 2:
                data = data[:rng.randrange(len(data))]
            else:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            try:
                found = read()
            except UserError as error:
                assert path.name in str(error) and "\n" not in str(error)
                told += 1
                continue
            for one, other in zip(found, expected, strict=True):  # a bit that nobody reads
                np.testing.assert_array_equal(one, other)
    finally:
        path.write_bytes(good)
    assert told > TIMES // 2


def test_sealed_files_hold_what_was_written(tmp_path):
    values = {"b": [1, 2.5, None], "a": {"x": (1, 2)}, "text": "größe"}
    write_sealed(tmp_path / "a.json", values)
    assert read_sealed(tmp_path / "a.json", "") == {**values, "a": {"x": [1, 2]}}
    (tmp_path / "b.json").write_text('{"early": 1}')  # from before there were seals
    assert read_sealed(tmp_path / "b.json", "") == {"early": 1}
    (tmp_path / "c.json").write_text("[1]")
    with pytest.raises(DataError, match=r"c.json: damaged .*; make it anew"):
        read_sealed(tmp_path / "c.json", "make it anew")


def test_a_run_whose_model_is_damaged_says_so(run, tmp_path):
    other = make_run(tmp_path / "run", DataConfig(image_size=65, count=60))
    other.model_path.write_bytes(other.model_path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model.keras: cannot be loaded"):
        Run.open(other.folder).model()
