# SPDX-License-Identifier: Apache-2.0
"""Trained segmenters as served graphs, the tuning step inside."""
