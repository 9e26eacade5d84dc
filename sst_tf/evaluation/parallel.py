# SPDX-License-Identifier: Apache-2.0
"""The same evaluation by several processes: each scores a share, the counts are put together."""

import concurrent.futures
import contextlib
import multiprocessing
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from pipelines.errors import DataError, UserError
from sst_tf.config import Config
from sst_tf.data.feature_store import FeatureStore, open_store
from sst_tf.data.photo_bank import open_bank
from sst_tf.data.run_data import RunData, open_data
from sst_tf.data.scoring_options import ScoringOptions
from sst_tf.evaluation.metrics import Counts
from sst_tf.evaluation.scoring import Scored, score, supports_of
from sst_tf.model.segmenter import SSTSegmenter
from sst_tf.runs.directory import Run
from sst_tf.runs.factory import build_model


def score_sharded(run: Run, config: Config, episodes: list, options: ScoringOptions,
                  processes: int) -> Scored:
    """`evaluation.score` by several processes; equal to that of one.

    Args:
        run: `sst_tf.runs.Run`; each process opens it and its data itself.
        episodes: list of `pipelines.Episode`, all of which the features are stored for.
    Raises:
        UserError: what a process failed of.
    """
    queries = {name: i for i, name in enumerate(dict.fromkeys(e.query for e in episodes))}
    order = sorted(range(len(episodes)), key=lambda row: queries[episodes[row].query])
    shares = np.array_split(order, min(processes, len(episodes)))  # a query lies in one or two
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    with (concurrent.futures.ProcessPoolExecutor(len(shares), context) as pool,
          _told(len(shares))):
        parts = list(pool.map(_score_share, [
            (run.folder, run.model_sha256(), config, [episodes[row] for row in share], options)
            for share in shares]))
    failed = [part for part in parts if isinstance(part, str)]
    if failed:
        raise UserError(failed[0])
    return merge(parts, shares, episodes)


@contextlib.contextmanager
def _told(processes):
    """A process that the system ended, in one line."""
    try:
        yield
    except BrokenProcessPool:
        raise UserError(f"one of {processes} processes was ended, most likely for its memory; set "
                        "evaluate.processes lower") from None


def score_here(run: Run, config: Config, model: SSTSegmenter, data: RunData, episodes: list,
               options: ScoringOptions, store: FeatureStore | None = None,
               progress: bool = False) -> Scored:
    """`evaluation.score` of a run's model beside the untrained prototype, in this process."""
    settings = config.evaluate
    frozen = store is not None or not config.model.train_backbone
    untrained = model.encoder if frozen else build_model(config).encoder
    bank = open_bank(config, data.source, episodes, options, store)
    return score(model, bank, episodes, settings.batch, untrained, progress, settings.oracle)


def merge(parts: list[Scored], shares: list[np.ndarray], episodes: list) -> Scored:
    """One `Scored` of all episodes from those of shares, which list each part's rows."""
    counts = {name: Counts.empty(episodes) for name in parts[0].counts}
    for part, rows in zip(parts, shares, strict=True):
        for name, one in part.counts.items():
            counts[name].histogram[rows] = one.histogram
    supports = {pair: values for part in parts for pair, values in part.supports.items()}
    return Scored(counts, {pair: supports[pair] for pair in supports_of(episodes)})


def _score_share(job):
    folder, sha256, config, episodes, options = job
    try:
        run = Run.open(folder)
        model, data = run.model(), open_data(config)
        if run.model_sha256() != sha256:
            raise UserError(f"{run.model_path}: a training replaced it meanwhile; start again")
        return score_here(run, config, model, data, episodes, options,
                          open_store(config, model, data))
    except (DataError, UserError) as error:
        return str(error)
