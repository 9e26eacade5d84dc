# SPDX-License-Identifier: Apache-2.0
"""Trained embeddings and heads in small files, with their cards; the backbone is the user's."""
