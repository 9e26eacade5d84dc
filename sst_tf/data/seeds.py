# SPDX-License-Identifier: Apache-2.0
"""Seeds of episodes by purpose: no two purposes draw the same episodes of the same photos.

Training draws under `train.seed` from pairs of its own; validation draws base and novel episodes
under `VALIDATION`; an evaluation's seeds lie beyond 2**63, where neither is.
"""

import hashlib

VALIDATION = 1


def evaluation_seed(seed: int, run: int = 0) -> int:
    """The seed of one run of an evaluation.

    Args:
        seed: `evaluate.seed`. Run 0 of seed 0 draws under 0: the episodes of the published tables.
        run: of `evaluate.runs`.
    """
    if seed == run == 0:
        return 0
    digest = hashlib.sha256(f"evaluation {seed} {run}".encode()).digest()
    return int.from_bytes(digest[:8], "big") | 1 << 63
