# SPDX-License-Identifier: Apache-2.0
"""Stands in for `sst train` and `sst evaluate`: results of a model, no training.

    fake_module.py LOG -m sst_tf.train BASE --run_dir RUN --resume ...
    fake_module.py LOG -m sst_tf.evaluate RUN ...
"""

import sys
import uuid

import numpy as np

from pipelines.writing import write_json
from sst_tf import config as configuration
from sst_tf.evaluation.protocol_options import under_protocol
from sst_tf.evaluation.stored import evaluation_name, protocol_sha256
from sst_tf.runs.directory import Run

log, _, module, first, *rest = sys.argv[1:]
with open(log, "a", encoding="utf-8") as file:
    file.write(f"{module} {first} {' '.join(rest)}\n")
if module == "sst_tf.train":
    config, _ = configuration.parse(configuration.parser(), rest[3:], first)
    run = Run.create(rest[1], config)
    run.model_path.write_text(uuid.uuid4().hex)
    (run.folder / "last.npz").write_text("")
    (run.folder / "history.csv").write_text("epoch,seconds\n" + "1,1\n" * config.train.epochs)
else:
    run = Run(first)
    config, _ = configuration.parse(configuration.parser(), rest,
                                    str(run.folder / "config.yaml"))
config = under_protocol(config)
for shots in config.evaluate.shots:
    path = run.evaluation_path(evaluation_name(run, config, shots))
    path.parent.mkdir(exist_ok=True)
    np.savez(path.with_suffix(".npz"), class_ids=[1])
    write_json(path, {"model_sha256": run.model_sha256(), "protocol": {
        "name": "own", "sha256": protocol_sha256(configuration.identity(config), shots)}})
