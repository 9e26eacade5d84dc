# SPDX-License-Identifier: Apache-2.0
"""A run directory: what cannot be gone on with says so."""

import keras
import numpy as np
import pytest

from pipelines.errors import UserError
from sst_tf.runs import Run
from tests.sst_tf.conftest import build


def test_weights_of_an_earlier_layout_are_not_gone_on_with(tmp_path):
    run, model = Run(tmp_path), build()
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    run.save_last(model, {"epoch": 1})
    assert run.restore_last(built_again()) == {"epoch": 1}
    with np.load(run.last_path) as arrays:
        arrays = dict(arrays)
    place = next(i for i, v in enumerate(model.weights)
                 if v is model.head.decoder.classify.kernel)
    arrays[f"weight_{place}"] = np.zeros((1, 1, 8, 2), np.float32)  # two logits
    np.savez(run.last_path, **arrays)
    with pytest.raises(UserError, match=r"\[1, 1, 8, 2\], expected \[1, 1, 8, 1\].*--run_dir"):
        run.restore_last(built_again())


def built_again():
    again = build()
    again.compile(optimizer=keras.optimizers.SGD(0.1))
    return again
