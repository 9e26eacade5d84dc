# SPDX-License-Identifier: Apache-2.0
"""Where a run's probabilities are cut, and from which score a class counts as present.

Both are chosen on base classes by an evaluation and kept in the run, in `thresholds.json` and
`presence.json`, under a key of all that they depend on: one that was chosen under other settings,
in a quick trial or for another model is never taken for it.
"""

import warnings

from filelock import FileLock

from pipelines.sealed import read_sealed, write_sealed
from sst_tf import config as configuration
from sst_tf.config import Config
from sst_tf.data.scoring_options import PLAIN
from sst_tf.evaluation import presence
from sst_tf.evaluation.metrics import BINS, HALF
from sst_tf.evaluation.protocol_options import OWN, counting
from sst_tf.runs.directory import POINTS, Run


class OperatingPoint:
    """The operating points of a run under some settings.

    Asked for a number of shots that has none, it takes that of the nearest number of shots of the
    same model under the same settings, else the plain one (probability 0.5, presence score 0); it
    says so once, with the command that sets it.

    Args:
        run: whose.
        config: the settings; the run's own by default.
    """

    def __init__(self, run: Run, config: Config | None = None):
        self.run = run
        self.config = configuration.resolved(run.config() if config is None else config)
        # The run's own data set counts as what it was: its lists may not be on this machine.
        data = (run.identity() if config is None else configuration.identity(config))["data"]
        self._data = configuration.digest(data)[:12]
        self._model = None
        self._told: set = set()

    # ---- thresholds of probability ----------------------------------------------------------

    def key(self, shots: int) -> str:
        """The key of `thresholds.json`: what is not plain in words, then a hash of everything."""
        return _key(self._words(shots), self._settings(shots))

    def stored(self, shots: int) -> dict[str, int] | None:
        """{"tuned": bin, "untuned": bin} chosen under exactly these settings, or None."""
        return self.run.thresholds().get(self.key(shots))

    def known(self, shots: int) -> dict[str, int] | None:
        """As `stored`, or what an earlier version kept under the number of shots."""
        return self.stored(shots) or _early(self.run.thresholds(), self._words(shots))

    def keep(self, shots: int, bins: dict[str, int]) -> None:
        """Store what was chosen, {"tuned": bin, ...}; safe among several processes."""
        _update(self.run.thresholds_path, self.key(shots),
                {**bins, "settings": self._settings(shots)})

    def bins(self, shots: int) -> dict[str, int]:
        """{"tuned": bin, ...} for k shots, or what stands in for it."""
        found = self.known(shots) or self._nearest(
            self.run.thresholds(), shots, self._words, self._settings, "threshold", "0.5")
        return found or {"tuned": HALF}

    def threshold(self, shots: int, kind: str = "tuned") -> float:
        """Probability from which a pixel is foreground, 0..1."""
        found = self.bins(shots)
        return found.get(kind, found["tuned"]) / BINS

    # ---- scores of presence -----------------------------------------------------------------

    def keep_presence(self, shots: int, rates: dict) -> None:
        """Store {"threshold": score, ...} of `evaluation.presence`."""
        settings = self._presence_settings(shots)
        _update(self.run.presence_path, _key(self._presence_words(shots), settings),
                {**rates, "settings": settings})

    def presence_threshold(self, shots: int) -> float:
        """Score from which a class counts as present, 0..1; 0 where none was chosen."""
        found = self.known_presence(shots) or self._nearest(
            self._presence_table(), shots, self._presence_words, self._presence_settings,
            "presence threshold", "0")
        return found["threshold"] if found else 0.0

    def known_presence(self, shots: int) -> dict | None:
        """What `keep_presence` stored under exactly these settings, or None."""
        return self._presence_table().get(
            _key(self._presence_words(shots), self._presence_settings(shots)))

    def _presence_table(self):
        # What early versions kept, without settings, is of another score.
        return {key: one for key, one in self.run.presence().items() if "settings" in one}

    # ---- parts ------------------------------------------------------------------------------

    def _settings(self, shots):
        settings, options = self.config.evaluate, counting(self.config)
        return {**self._shared(shots), "protocol": settings.protocol, "scoring": options.scoring,
                "void_query": options.void_query, "void_support": options.void_support,
                "views": [list(view) for view in options.views],
                "episodes": settings.threshold_episodes}

    def _presence_settings(self, shots):
        return {**self._shared(shots), "episodes": self.config.evaluate.absent_episodes,
                "score": presence.KIND}

    def _shared(self, shots):
        if self._model is None:
            self._model = self.run.model_sha256()
        fusion, second_look = self.config.model.answering
        # At its default it is left out, as it was before there was one.
        look = {"second_look": second_look} if second_look else {}
        return {"shots": shots, "fusion": fusion, **look,
                "image_size": self.config.data.image_size, "resize": self.config.data.resize,
                "seed": self.config.evaluate.seed, "data": self._data, "model": self._model}

    def _words(self, shots):
        """What is not plain about the settings; the whole key in earlier versions."""
        parts, options = [self._presence_words(shots)], counting(self.config)
        if self.config.evaluate.protocol != OWN:
            parts.append(self.config.evaluate.protocol)
        if options.views != (PLAIN,):
            parts.append(str([list(view) for view in options.views]))
        return " ".join(parts)

    def _presence_words(self, shots):
        fusion, second_look = self.config.model.answering
        return (f"{shots}" + (f" {fusion}" if fusion != "weighted" else "")
                + (f" look {second_look:g}" if second_look else ""))

    def _nearest(self, table, shots, words, settings, what, plain):
        """The entry of the nearest number of shots, all else equal, or None; says which."""
        same = {}
        for key, entry in table.items():
            k = _shots(key)
            if k is not None and entry.get("settings", settings(k)) == settings(k) and (
                    "settings" in entry or key == words(k)):
                same[k] = entry
        near = min(same, key=lambda k: abs(k - shots), default=None)
        if (what, shots) not in self._told:
            self._told.add((what, shots))
            instead = plain if near is None else f"that of {near}"
            warnings.warn(f"{self.run.folder}: no {what} for {shots} shots, {instead} is used; "
                          f"sst evaluate {self.run.folder} --evaluate.shots "
                          f"'[{shots}]' sets it", stacklevel=4)
        return same.get(near)


def _key(words, settings):
    return f"{words} {configuration.digest(settings)[:8]}"


def _early(table, words):
    """What a version without settings in the key kept."""
    return table.get(words)


def _shots(key):
    first = key.split(" ")[0]
    return int(first) if first.isdigit() else None


def _update(path, key, entry):
    """Add an entry to a JSON file; writers wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        table = read_sealed(path, POINTS) if path.is_file() else {}
        write_sealed(path, {**table, key: entry})
