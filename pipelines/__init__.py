"""Episodes for few-shot segmentation in `tf.data`."""

from pipelines.api import episodes, from_tfds
from pipelines.augment import Augment
from pipelines.dataset import episode_dataset
from pipelines.errors import DataError
from pipelines.reader import photo_dataset
from pipelines.sampler import Episode, EpisodeSampler, WayEpisode, WaySampler
from pipelines.sources import Source, open_source

__all__ = ["Augment", "DataError", "Episode", "EpisodeSampler", "Source", "WayEpisode",
           "WaySampler", "episode_dataset", "episodes", "from_tfds", "open_source",
           "photo_dataset"]
