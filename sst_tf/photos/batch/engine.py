# SPDX-License-Identifier: Apache-2.0
"""A batch from its input to its output: Ray Data spreads the blocks over workers."""

import hashlib
import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

import ray.data
from tqdm import tqdm

from pipelines.errors import UserError
from sst_tf.evaluation.operating_point import OperatingPoint
from sst_tf.photos.batch import BLOCK, NAME, PHOTO
from sst_tf.photos.batch.output import Output
from sst_tf.photos.batch.sources import listing, open_source
from sst_tf.photos.batch.worker import Question, Worker
from sst_tf.presets.preset import Preset, is_run
from sst_tf.runs.directory import Run
from sst_tf.runs.ray_cluster import cluster


class Answered(NamedTuple):
    """What came of a batch.

    Attributes:
        photos: rows in the output.
        errors: rows that hold an error.
        before: rows that were there when it began.
        others: pictures in the input that are of no kind that is looked for.
        answers: how many pictures were left out because `sst predict` wrote them.
    """

    photos: int
    errors: int
    before: int
    others: Sequence[str] = ()
    answers: int = 0


def answer(question: Question, input_uri: str, output_uri: str, workers: int,
           address: str | None = None, kind: str | None = None, photo: str = PHOTO,
           name: str = NAME, block: int = BLOCK, progress: bool = True,
           retry_errors: bool = False) -> Answered:
    """Answer all photos that have no row yet.

    Args:
        question: what is asked of every photo.
        input_uri, kind: as of `sources.listing`.
        photo, name: as of `sources.open_source`; of another kind than Parquet no part of what is
            asked.
        output_uri: folder of the rows.
        workers: processes with a model each.
        address: of a Ray cluster; one is started on this machine without.
        block: photos of an output file.
        retry_errors: answer photos again whose row holds an error.
    Raises:
        UserError: see `Output`, `listing` and `open_source`; photos that two inputs have in common.
    """
    output = Output(output_uri)
    found = listing(input_uri, kind, output)
    output.begin(_asked(question, input_uri, *(
        (photo, name) if found.kind == "parquet" else (PHOTO, NAME))))
    if retry_errors:
        output.forget_errors()
    done, _ = output.done()
    with cluster(address, workers + 1):  # one more for the tasks that read
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the error that ends it is told
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        source = open_source(found, done, block, photo, name)
        results = source.blocks.map_batches(
            Worker, batch_size=None, batch_format="pyarrow", concurrency=workers, num_cpus=1,
            fn_constructor_args=(question, output_uri, source.filesystem),
            runtime_env={"env_vars": _threads(1 if address else (os.cpu_count() or 1) // workers)})
        with tqdm(total=source.total, initial=source.left_out, unit="photo", desc="photos",
                  disable=not progress) as bar:
            for answered in results.iter_rows():
                bar.update(answered["photos"])
    ids, errors = output.done()
    if source.ids is not None and (without := sorted(source.ids - ids)):
        raise UserError(f"{input_uri}: {len(without)} photos have no row, such as {without[0]}; "
                        "start again")
    if source.total is not None and len(ids) < source.total:
        raise UserError(f"{input_uri}: {source.total} photos and {len(ids)} rows; some names "
                        "occur twice")
    return Answered(len(ids), errors, len(done), found.others, found.answers)


def _threads(number):
    """So many threads for TensorFlow, which would take all cores in every worker."""
    return {"TF_NUM_INTRAOP_THREADS": str(max(1, number)), "TF_NUM_INTEROP_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2"}


def _asked(question: Question, input_uri: str, photo: str, name: str):
    """All that an answer hangs on but the photo."""
    model = question.model
    opened = Run.open(model) if is_run(model) else Preset.load(model)
    point = OperatingPoint(opened) if isinstance(opened, Run) else opened
    classes = [{
        "name": card.name, "model_sha256": card.model_sha256,
        "prototypes_sha256": hashlib.sha256(
            card.prototype.tobytes() + card.score.tobytes()).hexdigest(),
        "threshold": point.threshold(card.shots),
        "presence_threshold": point.presence_threshold(card.shots)} for card in question.cards]
    # Outputs of before have these only where they are not the default.
    named = {"photo": photo} if photo != PHOTO else {}
    named |= {"id": name} if name != NAME else {}
    named |= dict(opened.config().model.asked_otherwise)
    return {"input": input_uri, **named, "masks": question.masks, "tiles": question.tiles,
            "empty": question.empty, "classes": classes}
