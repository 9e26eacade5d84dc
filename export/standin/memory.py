# SPDX-License-Identifier: Apache-2.0
"""How the process allocates memory."""

import ctypes

ARENAS = -8  # M_ARENA_MAX of mallopt


def share_one_arena() -> None:
    """Let all threads allocate from one arena, where the C library is glibc.

    A run with a time limit allocates in some threads of TensorFlow and frees in others. With an
    arena a thread it leaves holes that no other thread fills, 30 to 140 KB a refused request, and
    memory grows for hours. Call it before threads start; arenas that are there stay.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(ARENAS, 1)
