# SPDX-License-Identifier: Apache-2.0
"""Whether Keras is set up for this package: TensorFlow in float32, channels last."""

import keras

from pipelines.errors import UserError

EXPECTED = {"backend": "tensorflow", "floatx": "float32", "image_data_format": "channels_last"}
REMEDY = ("expected {}: set KERAS_BACKEND and ~/.keras/keras.json (or that of KERAS_HOME) so, or "
          "leave both out")


def refuse_others() -> None:
    """Refuse settings of Keras under which numbers would be others, or none.

    Raises:
        UserError: naming the setting and where it is set.
    """
    for name, expected in EXPECTED.items():
        if (found := getattr(keras.config, name)()) != expected:
            raise UserError(f"Keras' {name} is {found!r}; " + REMEDY.format(expected))
