# SPDX-License-Identifier: Apache-2.0
"""Run directories: what training leaves behind and everything else reads."""

from sst_tf.runs.directory import Run

__all__ = ["Run"]
