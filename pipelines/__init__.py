# SPDX-License-Identifier: Apache-2.0
"""Episodes for few-shot segmentation in `tf.data`."""

import importlib

_HOMES = {  # name: module; imported when asked for, so that a client need not start TensorFlow
    "episodes": "api", "from_tfds": "api", "Augment": "reading.augment",
    "episode_dataset": "dataset", "DataError": "errors", "photo_dataset": "reading.reader",
    "Episode": "sampler", "EpisodeSampler": "sampler", "WayEpisode": "sampler",
    "WaySampler": "sampler", "Source": "sources", "open_source": "sources"}

__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pipelines.{_HOMES[name]}"), name)


def __dir__():
    return __all__
