# SPDX-License-Identifier: Apache-2.0
"""Grids of runs behind a table."""
