"""The results file of an evaluation."""

import sys

from sst_tf import config as configuration
from sst_tf.runs.provenance import commit, environment


def results_of(run, config, protocol, scores, support_iou, gauges):
    """The results file of `docs/evaluation.md`: everything needed to repeat it."""
    return {
        "schema": 1, "run": str(run.folder),
        "model_sha256": run.model_sha256(),
        "config_sha256": configuration.sha256(config),
        "commit": commit(), "versions": environment()["versions"],
        "command": " ".join(sys.argv), "config": configuration.to_dict(config),
        "protocol": protocol, "scores": scores, "support_iou": support_iou, "gauges": gauges,
    }
