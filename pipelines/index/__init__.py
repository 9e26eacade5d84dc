# SPDX-License-Identifier: Apache-2.0
"""Which (photo, class) pairs there are, and which of them are base, held out or novel."""

from pipelines.index.build import PAIR_FILTERS, build_index, read_facts
from pipelines.index.pairs import Index, Pair, holdout, read_pairs, split_pairs

__all__ = ["PAIR_FILTERS", "Index", "Pair", "build_index", "holdout", "read_facts", "read_pairs",
           "split_pairs"]
