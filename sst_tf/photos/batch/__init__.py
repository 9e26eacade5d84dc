# SPDX-License-Identifier: Apache-2.0
"""More photos than one process can answer: Ray Data over folders, Parquet and WebDataset tars."""

PHOTO, NAME = "image", "id"  # columns of Parquet
BLOCK = 128  # photos of an output file, and what a killed worker answers again at most
