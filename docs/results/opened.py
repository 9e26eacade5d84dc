# SPDX-License-Identifier: Apache-2.0
"""What the scripts of this folder ask: a run's model, its photos and its episodes."""

from dataclasses import replace

from sst_tf import config as configuration
from sst_tf.data.feature_store import open_store
from sst_tf.data.photo_bank import open_bank
from sst_tf.data.run_data import open_data
from sst_tf.data.seeds import evaluation_seed
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.evaluation.protocol_options import counting
from sst_tf.runs.directory import Run


class Opened:
    """A run as an evaluation sees it, under the run's own settings.

    Attributes:
        run, config, model, data: of `sst_tf.runs`, `sst_tf.config`, `sst_tf.model`, `sst_tf.data`.
        store: its `FeatureStore`.
        point: its `OperatingPoint`.
        side: of its network, in pixels.
        seed: of the evaluation.
    """

    def __init__(self, folder):
        self.run = Run.open(folder)
        self.config = configuration.resolved(self.run.config())
        self.model, self.data = self.run.model(), open_data(self.config)
        self.store = open_store(self.config, self.model, self.data)
        self.point, self.side = OperatingPoint(self.run), self.config.data.image_size
        self.seed = evaluation_seed(self.config.evaluate.seed)

    def sampler(self, part, shots, **options):
        return self.data.sampler(part, shots, self.seed, **options)

    def bank(self, part, episodes):
        """The `PhotoBank` of a part's episodes."""
        options = replace(counting(self.config), ignore_ids=self.data.void_in(part))
        return open_bank(self.config, self.data.source, episodes, options, self.store)
