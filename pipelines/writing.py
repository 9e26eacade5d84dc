"""Files that are whole or not there: written under a temporary name, then renamed."""

import json
import os
from pathlib import Path


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path, text):
    """Write under a temporary name, then rename: never half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
