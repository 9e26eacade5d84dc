# SPDX-License-Identifier: Apache-2.0
"""Warm-up requests: a server replays them before it calls a version ready."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from export import replay
from export.standin import protos
from export.trained import Trained
from pipelines import Episode, Source
from pipelines.errors import UserError

FILE = "tf_serving_warmup_requests"


def requests_api() -> Any:
    """The modules that requests are made of; UserError where the extra is not installed."""
    try:
        return protos.serving()
    except ImportError:
        raise UserError("warm-up requests need the extra `serving` (pip install "
                        "'sst-tf[serving]'), or leave them out with --no_warmup") from None


def write(trained: Trained, folder: Path, episodes: list[Episode], source: Source) -> None:
    """One request a signature, as TensorFlow Serving reads them from `assets.extra`."""
    apis = requests_api()
    batch = next(trained.batches(episodes[:1], source))
    support = {name: batch[name][0, :1] for name in ("support_image", "support_mask")}
    inference = trained.model.inference
    tuned = inference.tune(inference.embed_photos(support["support_image"]),
                           support["support_mask"])
    shots = [1, trained.shots]
    kept = {"prototype": tf.tile(tuned.prototype[:, None], [*shots, 1]),
            "score": tf.tile(tuned.score[:, None], shots)}
    requests = {
        "serving_default": batch, "segment": batch, "tune": support, "self_segment": support,
        "segment_bytes": replay.encoded(source, episodes[0]),
        "segment_tuned": {"query_image": batch["query_image"], **kept},
        "segment_many": {"query_image": batch["query_image"],
                         **{name: value[:, None] for name, value in kept.items()}}}
    folder.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FILE)) as file:
        for name, inputs in requests.items():
            request = apis.predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "sst", name
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = apis.prediction_log_pb2.PredictionLog(
                predict_log=apis.prediction_log_pb2.PredictLog(request=request))
            file.write(log.SerializeToString())
