# SPDX-License-Identifier: Apache-2.0
"""The method of the paper, equation by equation; knows neither data nor files."""

from sst_tf.model.keras_settings import refuse_others

refuse_others()
