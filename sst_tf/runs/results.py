# SPDX-License-Identifier: Apache-2.0
"""The results file of an evaluation."""

from sst_tf import config as configuration
from sst_tf.config import Config
from sst_tf.runs.directory import Run
from sst_tf.runs.provenance import command, commit, environment


def results_of(run: Run, config: Config, protocol: dict, scores: dict, support_iou: dict,
               gauges: dict) -> dict:
    """The results file of `docs/evaluation.md`: everything needed to repeat it."""
    return {
        "schema": 1, "run": str(run.folder),
        "model_sha256": run.model_sha256(),
        "config_sha256": configuration.sha256(config),
        "commit": commit(), "versions": environment()["versions"],
        "command": command(), "config": configuration.to_dict(config),
        "protocol": protocol, "scores": scores, "support_iou": support_iou, "gauges": gauges,
    }
