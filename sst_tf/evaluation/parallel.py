# SPDX-License-Identifier: Apache-2.0
"""The same evaluation by several processes: each scores a share, the counts are put together."""

import concurrent.futures
import multiprocessing

import numpy as np

from pipelines.errors import DataError, UserError
from sst_tf.data.feature_store import open_store
from sst_tf.data.photo_bank import PhotoBank
from sst_tf.data.run_data import open_data
from sst_tf.evaluation.metrics import Counts
from sst_tf.evaluation.scoring import Scored, score
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model


def score_sharded(run, config, episodes, options, processes):
    """`evaluation.score` by several processes; equal to that of one.

    Args:
        run: `sst_tf.runs.Run`; each process opens it and its data itself.
        episodes: list of `pipelines.Episode`, all of which the features are stored for.
    Raises:
        UserError: what a process failed of.
    """
    shares = [episodes[i::processes] for i in range(min(processes, len(episodes)))]
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    with concurrent.futures.ProcessPoolExecutor(len(shares), context) as pool:
        parts = list(pool.map(_score_share, [(run.folder, config, share, options)
                                             for share in shares]))
    failed = [part for part in parts if isinstance(part, str)]
    if failed:
        raise UserError(failed[0])
    return merge(parts, len(episodes))


def score_here(run, config, model, data, episodes, options, store=None, progress=False):
    """`evaluation.score` of a run's model beside the untrained prototype, in this process."""
    settings = config.evaluate
    untrained = model.encoder if store is not None else build_model(config).encoder
    bank = PhotoBank(data.source, episodes, config.data.image_size, store, config.data.resize,
                     options)
    return score(model, bank, episodes, settings.batch, untrained, progress, settings.oracle)


def merge(parts, total):
    """One `Scored` of those of shares [0::n], [1::n], ... of `total` episodes."""
    counts = {}
    for name in parts[0].counts:
        histogram = np.zeros((total, *parts[0].counts[name].histogram.shape[1:]), np.int64)
        classes, photos = np.zeros(total, int), [None] * total
        for i, part in enumerate(parts):
            one = part.counts[name]
            histogram[i::len(parts)], classes[i::len(parts)] = one.histogram, one.class_ids
            photos[i::len(parts)] = one.photos
        counts[name] = Counts(histogram, classes, photos)
    supports = {pair: values for part in parts for pair, values in part.supports.items()}
    return Scored(counts, dict(sorted(supports.items())))


def _score_share(job):
    folder, config, episodes, options = job
    try:
        run = Run.open(folder)
        model, data = run.model(), open_data(config)
        return score_here(run, config, model, data, episodes, options,
                          open_store(config, model, data))
    except (DataError, UserError) as error:
        return str(error)
