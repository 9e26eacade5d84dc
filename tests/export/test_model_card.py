# SPDX-License-Identifier: Apache-2.0
"""The model card tells the scores of the model that was exported."""

import shutil

import yaml

from export import model_card
from export.trained import Trained
from pipelines.sealed import write_sealed
from sst_tf.config import from_record
from sst_tf.evaluation.stored import protocol_sha256


def test_scores_of_another_way_to_answer_are_left_out(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)

    def card():
        trained = Trained.load(folder, shots=2, threshold=0.5)
        model_card.write(trained, tmp_path / "card", "float32", False, False, 0.0, "shapes")
        return trained.run, (tmp_path / "card" / "MODEL_CARD.md").read_text()

    mine, text = card()
    assert "Not evaluated." in text
    write_sealed(mine.evaluation_path("novel_2shot"), {
        "model_sha256": mine.model_sha256(), "scores": {"tuned": {"miou": 0.432}},
        "protocol": {"shots": 2, "episodes": 50, "dataset": "shapes",
                     "sha256": protocol_sha256(mine.asked(), 2)}})
    assert "| 2 | 0.432 |" in card()[1]
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["second_look"] = 0.3
    path.write_text(yaml.safe_dump(config))
    assert "Not evaluated." in card()[1]


def test_no_place_of_this_machine_travels_along(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["root"] = "/home/me/photos"
    path.write_text(yaml.safe_dump(config))
    trained = Trained.load(folder, shots=2, threshold=0.5)
    trained.config.model.weights = "/home/me/resnet18.npz"
    model_card.write(trained, tmp_path / "card", "float32", False, False, 0.0, "shapes")
    for written in (tmp_path / "card").iterdir():
        assert "/home/me" not in written.read_text(), written
    kept = yaml.safe_load((tmp_path / "card" / "config.yaml").read_text())
    assert kept["model"]["weights"] == "resnet18.npz"
    assert from_record(kept, "card").tuner == trained.config.tuner
