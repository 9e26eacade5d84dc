"""Keys that follow others unless they are set."""

from dataclasses import replace

from sst_tf.config.sections import Config


def resolved(config: Config) -> Config:
    """The configuration with every key that follows another set to what it then is."""
    tuner = config.tuner
    if tuner.loss is None:
        tuner = replace(tuner, loss="balanced" if config.loss.balanced else "cross_entropy")
    return replace(config, tuner=tuner)
