# SPDX-License-Identifier: Apache-2.0
"""Self-Supervised Tuning for few-shot segmentation (Zhu et al., IJCAI 2020) in Keras 3."""

__version__ = "0.1.0"
