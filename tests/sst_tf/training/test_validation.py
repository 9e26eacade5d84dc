# SPDX-License-Identifier: Apache-2.0
"""Validation looks at a training and leaves it as it was."""

from types import SimpleNamespace

import keras
import numpy as np

from sst_tf.config import Config, OptimizerConfig
from sst_tf.training.validation import Validation
from tests.sst_tf.conftest import build, random_episode


def test_looking_at_the_average_leaves_training_as_it_was(eagerly):
    """To the last bit: or the number of validations would change the weights."""
    model = build()
    model.compile(optimizer=keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9))
    for seed in range(3):
        model.train_step(random_episode(seed=seed))
    validation = Validation(None, Config(optimizer=OptimizerConfig(average=0.9)),
                            SimpleNamespace(validation=[], novel=[]), None, {})
    validation.set_model(model)
    of_training = [*model.trainable_variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in of_training]
    count = len(model.trainable_variables)
    with validation._averaged():
        once = [variable.numpy() for variable in model.trainable_variables]
    with validation._averaged():  # the next epoch's
        shown = [variable.numpy() for variable in model.trainable_variables]
    for first, second in zip(once, shown, strict=True):
        np.testing.assert_array_equal(first, second)
    assert max(np.abs(a - b).max() for a, b in zip(shown, before, strict=False)) > 1e-4
    by_shape = {value.shape: [] for value in before[count:]}
    for value in before[count:]:
        by_shape[value.shape].append(value)
    for value in shown:  # one of the optimizer's variables
        assert any(np.allclose(value, one, atol=1e-6) for one in by_shape[value.shape])
    for variable, value in zip(of_training, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
