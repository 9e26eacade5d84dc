"""Episodes for few-shot segmentation in `tf.data`."""

from pipelines.dataset import episode_dataset, episodes
from pipelines.errors import DataError
from pipelines.reader import photo_dataset
from pipelines.sampler import Episode, EpisodeSampler
from pipelines.sources import Source, open_source

__all__ = ["DataError", "Episode", "EpisodeSampler", "Source", "episode_dataset", "episodes",
           "open_source", "photo_dataset"]
