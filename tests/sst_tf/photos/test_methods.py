# SPDX-License-Identifier: Apache-2.0
"""Predictor, class cards and pictures of a report take any method."""

import numpy as np
import pytest

from sst_tf.config import DataConfig
from sst_tf.data.run_data import open_data
from sst_tf.model.methods import fwb
from sst_tf.photos.predictor import Predictor
from sst_tf.reporting.figures import Painter
from tests.export.conftest import make_run


@pytest.fixture(scope="module", params=["panet", "fwb"])
def run(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fwb, "EXPERTS", 2)  # five take long to trace
        yield make_run(tmp_path_factory.mktemp("run"), DataConfig(image_size=33, count=100),
                       method=request.param)


def photo(seed, box):
    random = np.random.default_rng(seed)
    image, mask = random.integers(90, 110, (40, 50, 3), np.uint8), np.zeros((40, 50), np.uint8)
    image[box], mask[box] = (200, 40, 40), 1
    return image, mask


def test_a_card_answers_in_another_predictor(run, tmp_path):
    first = Predictor.from_run(run.folder, empty=False)
    pairs = [photo(0, np.s_[5:25, 10:30]), photo(1, np.s_[15:35, 20:45])]
    card = first.set_support(*zip(*pairs, strict=True), name="box")
    assert card.prototype.shape == (2, first.model.head.summary_size)
    assert np.abs(card.prototype - card.untuned).max() > 1e-4
    second = Predictor.from_run(run.folder, empty=False)
    second.add_card(card.save(tmp_path / "box.npz"))
    query = photo(2, np.s_[8:30, 4:26])[0]
    one, other = first.predict(query), second.predict(query)
    assert one.probability.shape == (40, 50) and np.isfinite(one.probability).all()
    np.testing.assert_array_equal(one.probability, other.probability)


def test_pictures_of_a_report(run, eagerly):
    config = run.config()
    data = open_data(config)
    painter = Painter(run, config, run.model(), data)
    sheet = painter.tuning(data.sampler("novel", 1, 0).take(1))
    assert sheet.ndim == 3 and sheet.std() > 5
    assert len(painter.own(data.sampler("novel", 1, 0).take(1))) == 1
    assert painter.shots(data.sampler("novel", 2, 0).take(1)).std() > 5
