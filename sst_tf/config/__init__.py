# SPDX-License-Identifier: Apache-2.0
"""Typed configuration: the one place that knows defaults.

A YAML file has one section a class of `sections`; `--section.key value` overrides it.
"""

from sst_tf.config.checks import check_files
from sst_tf.config.command_line import ArgumentParser
from sst_tf.config.identity import (
    completed,
    digest,
    identity,
    of_training,
    portable,
    sha256,
    to_dict,
    trained_otherwise,
)
from sst_tf.config.reading import before_file, from_record, parse, parser, read_yaml
from sst_tf.config.resolve import resolved
from sst_tf.config.sections import (
    ANSWERING,
    BACKBONES,
    HELD_OUT,
    Config,
    DataConfig,
    EvaluateConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    TrainConfig,
    TunerConfig,
)

__all__ = ["ANSWERING", "BACKBONES", "HELD_OUT", "ArgumentParser", "Config", "DataConfig",
           "EvaluateConfig", "LossConfig", "ModelConfig", "OptimizerConfig", "PretrainConfig",
           "TrainConfig", "TunerConfig", "before_file", "check_files", "completed", "digest",
           "from_record", "identity", "of_training", "parse", "parser", "portable", "read_yaml",
           "resolved", "sha256", "to_dict", "trained_otherwise"]
