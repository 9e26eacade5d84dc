# SPDX-License-Identifier: Apache-2.0
"""What the first version left on people's disks still opens, and answers as it did.

`tests/data/first_version.zip` is a run directory with a class card, and what predictor and served
model answered, all written before the rooms and names of today.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import saving
from export.trained import Trained
from sst_tf.predictor import Predictor
from sst_tf.runs import Run

FILE = Path(__file__).parent / "data" / "first_version.zip"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old") / "run"
    with zipfile.ZipFile(FILE) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def answers(old):
    with np.load(old / "answers.npz") as arrays:
        return dict(arrays)


def test_a_run_opens_with_two_logits_as_their_difference(old):
    run = Run.open(old)
    assert run.config().data.dataset == "shapes"
    model = run.model()
    assert model.head.decoder.classify.kernel.shape[-1] == 1
    assert float(tf.reduce_max(tf.abs(model.head.decoder.classify.kernel))) > 0.1


def test_a_class_card_answers_as_before(old, answers):
    predictor = Predictor.from_run(old, empty=False)
    predictor.add_card(old / "blob.npz")
    found = predictor.predict(answers["query"])
    np.testing.assert_allclose(found.probability, answers["probability"], atol=1e-6)
    np.testing.assert_array_equal(found.mask, answers["answer"])


def test_a_class_is_tuned_as_before(old, answers):
    predictor = Predictor.from_run(old, empty=False)
    card = predictor.set_support(answers["image"], answers["mask"], "blob")
    predictor.add_card(old / "blob.npz")
    np.testing.assert_allclose(card.prototype, predictor.cards["blob"].prototype, atol=1e-5)


def test_an_export_answers_as_the_exported_model_of_before(old, answers, tmp_path):
    folder, _ = saving.export(Trained.load(old), tmp_path / "models", warm=False)
    served = tf.saved_model.load(str(folder)).signatures["segment"](
        support_image=tf.constant(answers["image"][None, None]),
        support_mask=tf.constant(answers["mask"][None, None]),
        query_image=tf.constant(answers["query"][None]))
    np.testing.assert_allclose(served["probability"], answers["served"], atol=1e-6)
    np.testing.assert_array_equal(served["mask"], answers["served_mask"])
    np.testing.assert_allclose(served["support_iou"], answers["support_iou"], atol=1e-6)
