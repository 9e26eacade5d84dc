# SPDX-License-Identifier: Apache-2.0
"""Keys that follow others unless they are set."""

from dataclasses import replace

from pipelines.protocols import protocol
from sst_tf.config.sections import Config


def resolved(config: Config) -> Config:
    """The configuration with every key that follows another set to what it then is."""
    tuner, evaluate = config.tuner, config.evaluate
    if tuner.loss is None:
        tuner = replace(tuner, loss="balanced" if config.loss.balanced else "cross_entropy")
    if evaluate.protocol == "sst":
        episodes, runs = 1000, 1
    else:
        preset = protocol(evaluate.protocol)
        episodes, runs = preset.episodes, preset.runs
    evaluate = replace(evaluate, episodes=evaluate.episodes or episodes,
                       runs=evaluate.runs or runs,
                       seed=0 if evaluate.episode_file else evaluate.seed)
    return replace(config, tuner=tuner, evaluate=evaluate)
