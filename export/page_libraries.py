# SPDX-License-Identifier: Apache-2.0
"""What the page takes from npm: fetched once by the lock file, then copied beside the page."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from pipelines.errors import UserError
from pipelines.writing import making

HERE = Path(__file__).parent / "page"
RECIPE = ("package.json", "package-lock.json")
COPIED = {  # path in the package: name in the page's folder `lib`
    "onnxruntime-web/dist/ort.wasm.min.mjs": "ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "onnxruntime-web/dist/ort.webgpu.min.mjs": "ort.webgpu.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.mjs":
        "ort-wasm-simd-threaded.asyncify.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm":
        "ort-wasm-simd-threaded.asyncify.wasm",
    "fflate/esm/browser.js": "fflate.js",
    "fflate/LICENSE": "fflate.LICENSE",
}
ADVICE = ("install Node.js, or run `npm ci` on another machine in a folder with this package's "
          "export/page/package.json and package-lock.json and give its node_modules by --libraries")


def cache() -> Path:
    """Folder that libraries of this lock file are kept in: `~/.cache/sst/page/<hash>`."""
    lock = (HERE / "package-lock.json").read_bytes()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sst" / "page" / hashlib.sha256(lock).hexdigest()[:12]


def fetch(folder: str | Path | None = None, tests: bool = False) -> Path:
    """The folder `node_modules` with the libraries; npm fetches them where they are not there.

    Args:
        folder: where to keep them; `cache()` by default.
        tests: those of the page's tests as well.
    Raises:
        UserError: no npm, or it failed.
    """
    folder = Path(folder or cache()) / ("tests" if tests else "page")
    if (folder / "node_modules").is_dir():
        return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm is missing; the page's runtime comes by it, once: {ADVICE}")
    with making(folder.parent) as partial:
        for name in RECIPE:
            shutil.copy(HERE / name, partial)
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund",
             *([] if tests else ["--omit=dev"])],
            cwd=partial, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"npm ci failed: {_reason(done.stderr or done.stdout)}; {ADVICE}")
        if not (folder / "node_modules").is_dir():  # another process may have been faster
            partial.rename(folder)
    return folder / "node_modules"


def _reason(output):
    """Of npm's lines the one that says most: warnings come before its errors."""
    lines = output.strip().splitlines() or ["no message"]
    return next((one for one in lines if one.startswith(("npm error", "npm ERR!"))), lines[-1])


def copy(modules: Path, target: Path) -> None:
    """Copy what the page loads into `target`.

    Raises:
        UserError: naming the first file that is not there.
    """
    target.mkdir(parents=True)
    for source, name in COPIED.items():
        try:
            shutil.copyfile(modules / source, target / name)
        except OSError as error:
            raise UserError(f"{modules / source}: {error.strerror}; {modules} is no node_modules "
                            "folder of the page's lock file") from None
