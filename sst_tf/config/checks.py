"""What types cannot tell: ranges, and keys that do not go together."""

from pipelines.errors import UserError
from sst_tf.config.sections import Config


def check(config: Config, source: str) -> None:
    """Refuse what cannot be used.

    Args:
        source: the file or "command line", for the message.
    Raises:
        UserError: one line naming the key.
    """
    rules = {
        "data.root": config.data.dataset == "shapes" or config.data.root is not None,
        "data.image_size": config.data.image_size >= 33,
        "data.validation_share": 0 < config.data.validation_share < 1,
        "model.channels": config.model.channels > 0,
        "tuner.steps": config.tuner.steps >= 0,
        "tuner.initial_step": config.tuner.initial_step > 0,
        "loss.auxiliary": config.loss.auxiliary >= 0,
        "pretrain.steps": config.pretrain.steps >= 0,
        "pretrain.batch": config.pretrain.batch > 0,
        "train.batch": config.train.batch > 0,
        "train.epochs": config.train.epochs > 0,
        "train.steps_per_epoch": config.train.steps_per_epoch > 0,
        "evaluate.ways": config.evaluate.ways > 0,
        "evaluate.runs": config.evaluate.runs >= 0,
        "evaluate.episodes": config.evaluate.episodes >= 0,
        "evaluate.batch": config.evaluate.batch > 0,
        "evaluate.processes": config.evaluate.processes > 0,
        "evaluate.scales": bool(config.evaluate.scales) and min(config.evaluate.scales) > 0,
        "evaluate.shots": bool(config.evaluate.shots) and min(config.evaluate.shots) > 0,
    }
    for key, fine in rules.items():
        if not fine:
            section, name = key.split(".")
            value = getattr(getattr(config, section), name)
            need = " (this data.dataset needs its folder)" if name == "root" else ""
            raise UserError(f"{source}: {key}: {value!r} cannot be used{need}")
    if config.train.cache_features and (config.train.augment != "none" or config.train.service):
        raise UserError(f"{source}: train.cache_features: features are of whole, unchanged photos "
                        "on this machine; set it to false for train.augment or train.service")
    if config.train.cache_features and config.model.train_backbone:
        raise UserError(f"{source}: train.cache_features: a trained backbone has no fixed "
                        "features; set it or model.train_backbone to false")
