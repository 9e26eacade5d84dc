# SPDX-License-Identifier: Apache-2.0
"""Under which protocol a run is evaluated: configuration, episodes and how they are counted."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.protocols import protocol, protocol_episodes
from pipelines.sampler import Episode, WaySampler, load_episodes
from sst_tf.config import Config, DataConfig, EvaluateConfig, resolved
from sst_tf.data.scoring_options import PLAIN, ScoringOptions
from sst_tf.data.seeds import evaluation_seed

if TYPE_CHECKING:
    from sst_tf.data.run_data import RunData

OWN = "sst"


def under_protocol(config: Config) -> Config:
    """The configuration with the photos, pair filter and size of `evaluate.protocol`.

    The pair filter that the run was trained with plays no part. Where novel pairs come from a
    published list, base ones follow the rule that such lists were made by ("oslsm"). Features of
    another size than the run's own are not kept on disk: gigabytes, for one use.

    Raises:
        UserError: a protocol whose pairs come from a published list that is not given.
    """
    name = config.evaluate.protocol
    if name == OWN:
        return config
    preset, data = protocol(name), config.data
    if needs_list(name) and config.evaluate.pair_list is None:
        raise UserError(f"evaluate.protocol {name}: its pairs come from a published list, and none "
                        "is given; give its path as --evaluate.pair_list FILE, or the folder of "
                        "all folds' lists as --lists FOLDER")
    kept = (preset.image_size, preset.resize) == (data.image_size, data.resize)
    return replace(config, data=replace(
        data, image_size=preset.image_size, resize=preset.resize,
        pair_filter="oslsm" if preset.pair_filter == "list" else preset.pair_filter,
        novel_split=data.novel_split if preset.images == "val" else data.train_split),
        train=replace(config.train, cache_features=config.train.cache_features and kept))


def needs_list(name: str) -> bool:
    """Whether the pairs of a protocol come from a published list."""
    return name != OWN and protocol(name).pair_filter == "list"


def published_list(place: str | Path, data: DataConfig) -> str:
    """Path of the list of a fold's test pairs.

    Args:
        place: that list itself, or the folder of all folds' lists, in hsnet's layout
            (`val/fold<i>.txt`) or directly in it.
        data: whose fold counts.
    Raises:
        UserError: no such list.
    """
    path, name = Path(place), f"fold{data.fold}.txt"
    if path.is_file():
        return str(path)
    if data.novel_classes is not None:
        raise UserError(f"--lists {place}: a file is expected, as data.novel_classes are no "
                        "numbered fold; name the list of pairs of these classes")
    for one in (path / "val" / name, path / name):
        if one.is_file():
            return str(one)
    raise UserError(f"--lists {place}: no val/{name} or {name} in it; expected the folder of the "
                    "published lists (hsnet's are data/splits/pascal in its repository), or the "
                    "list of this fold itself")


def counting(config: Config) -> ScoringOptions:
    """`ScoringOptions` of a configuration."""
    settings = config.evaluate
    fusion, second_look = config.model.answering
    views = tuple((float(scale), mirrored) for scale in settings.scales
                  for mirrored in ((False, True) if settings.flip else (False,)))
    if settings.protocol == OWN:
        return ScoringOptions(views, fusion=fusion, second_look=second_look)
    preset = protocol(settings.protocol)
    return ScoringOptions(views, preset.scoring, preset.void_query, preset.void_support, fusion,
                          second_look)


def test_runs(settings: EvaluateConfig, data: "RunData", shots: int) -> list[list[Episode]]:
    """Episodes of novel classes, a list a run.

    Args:
        settings: of a `resolved` configuration.
    """
    if settings.episode_file:
        return [_replayed(settings.episode_file, data, shots)]
    runs = settings.runs or 1
    if settings.protocol == OWN:
        return [data.sampler("novel", shots, evaluation_seed(settings.seed, run)
                             ).take(settings.episodes) for run in range(runs)]
    preset = protocol(settings.protocol)
    if runs > preset.runs:
        raise UserError(f"evaluate.runs {runs}: {preset.name} has seeds for {preset.runs}")
    return [protocol_episodes(preset, data.novel, shots, run, settings.episodes)
            for run in range(runs)]


def refuse_undrawable(config: Config, data: "RunData", trained: bool = False) -> None:
    """Draw what will be evaluated, so that a class with too few photos is told at once.

    Without novel classes that is the operating point alone. A trained model has one: where all
    classes are tested, it keeps its own.

    Raises:
        DataError: naming the class.
    """
    settings = resolved(config).evaluate
    for shots in settings.shots:
        if settings.ways > 1 and data.novel_ids:
            WaySampler(data.novel, settings.ways, shots, settings.seed, data.source.classes)
        elif data.novel_ids:
            test_runs(settings, data, shots)
        if config.data.validation_share and not (trained and data.all_tested):
            data.sampler("validation", shots, settings.seed)


def label(config: Config) -> str:
    """What the name of a results file says of what is not plain about an evaluation."""
    settings = config.evaluate
    parts: list[str] = [] if settings.protocol == OWN else [settings.protocol]
    if (settings.runs or 1) > 1 and settings.protocol == OWN:
        parts.append(f"{settings.runs}runs")
    if settings.episode_file:
        parts.append("replayed")
    if counting(config).views != (PLAIN,):
        parts.append("views" + "-".join(f"{scale:g}" for scale in settings.scales)
                     + ("flip" if settings.flip else ""))
    return "".join(f"_{part}" for part in parts)


def facts(config: Config) -> dict:
    """What a results file says of what is not plain about an evaluation."""
    settings = config.evaluate
    options = counting(config)
    found: dict = {"name": settings.protocol, "scoring": options.scoring}
    if settings.protocol != OWN:
        found |= {"void_query": options.void_query, "void_support": options.void_support}
    if settings.pair_list:
        found |= {"pair_filter": "list", "pair_list": Path(settings.pair_list).name}
    if options.views != (PLAIN,):
        found["views"] = [list(view) for view in options.views]
    if options.second_look:
        found["second_look"] = options.second_look
    return found


def _replayed(path, data, shots):
    episodes = load_episodes(path)
    if not episodes:
        raise UserError(f"{path}: holds no episode")
    known = {(pair.image_id, pair.class_id) for pair in data.novel}
    for number, episode in enumerate(episodes, start=1):
        if isinstance(episode.class_id, tuple) or len(episode.support) != shots:
            raise UserError(f"{path}: line {number} is no {shots}-shot episode of one class; "
                            "--evaluate.shots says how many there are")
        if episode.support_class_id != episode.class_id:
            raise UserError(f"{path}: line {number}: support_class_id {episode.support_class_id}, "
                            f"class_id {episode.class_id}: a support of another class is no test "
                            "of this one; leave such lines out")
        for name in (episode.query, *episode.support):
            if (name, episode.class_id) not in known:
                raise UserError(f"{path}: line {number}: photo {name} with class "
                                f"{episode.class_id} is no novel pair of this data set")
    return episodes
