# SPDX-License-Identifier: Apache-2.0
"""Text files with an entry a line: ids, class names, pairs, episodes."""

import os
from pathlib import Path

from pipelines.errors import DataError


def read_lines(path: str | os.PathLike) -> list[str]:
    """Lines of a UTF-8 text file, without the byte order mark that editors on Windows put first.

    Raises:
        DataError: text of another encoding.
        OSError: no such file.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no UTF-8 text (byte {error.start}: {error.reason}); save it as "
                        "UTF-8") from None
