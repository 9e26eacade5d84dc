# SPDX-License-Identifier: Apache-2.0
"""More photos than one process can answer: Ray Data over folders, Parquet and WebDataset tars."""
