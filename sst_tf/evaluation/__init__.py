# SPDX-License-Identifier: Apache-2.0
"""Scores of a trained run on fixed episodes."""
