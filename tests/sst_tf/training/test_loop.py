# SPDX-License-Identifier: Apache-2.0
"""What a training tells before it starts."""

import pytest

from sst_tf.config import parse, parser
from sst_tf.data.run_data import open_data
from sst_tf.training.loop import announce


@pytest.mark.parametrize("options, told", [
    ("", False), ("--loss.auxiliary 0", True),
    ("--loss.auxiliary 0 --tuner.normalize direction", False),
    ("--loss.auxiliary 0 --tuner.second_order false", False),
    ("--loss.auxiliary 0 --tuner.steps 0", False)])
def test_a_step_whose_inner_loss_nothing_holds_down_is_told(capsys, options, told):
    config, _ = parse(parser(), ["--data.count", "120", "--data.image_size", "49",
                                 *options.split()], None)
    announce(config, open_data(config))
    text = capsys.readouterr().out
    assert "photos of base classes" in text
    assert ("tuner.normalize direction makes the same step" in text) == told
