"""One set of names for weights: those of mmdetection 3.

A name here is that of mmdetection's modules, such as `neck.1.refine.g.conv.weight`.
Published files differ in what is wrapped around the names, in buffers that hold no
weights, and in convolutions without the wrapper that carries an activation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from libra_tf.errors import UserError

# What training programs put before every name: data parallelism, compilation, and the
# names under which detectors are kept.
PREFIXES = ("module.", "_orig_mod.", "model.", "detector.")
# Of images, in grey values; mmdetection 3 may save them.
IMAGE_STATISTICS = ("data_preprocessor.mean", "data_preprocessor.std")
COUNTERS = ".num_batches_tracked"
_BARE = re.compile(
    r"(neck\.0\.(?:lateral|fpn)_convs\.\d+"
    r"|neck\.1\.refine(?:\.(?:g|theta|phi|conv_out))?"
    r"|bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)"
)
_CLASSIFIER = re.compile(r"fc\.(weight|bias)")
_STAGE = re.compile(r"(conv1|bn1|layer[1-4])\.")
BACKBONE = "backbone."


def detector_names(names: Iterable[str], source: str) -> dict[str, str]:
    """Returns the name in the file by our name, of what a detector computes with.

    Args:
        names: in the file.
        source: the file, for messages.

    Raises:
        UserError: two names mean the same weight, or they are of mmdetection 1.
    """
    result: dict[str, str] = {}
    names = list(names)
    prefix = common_prefix(names)
    for name in names:
        ours = _BARE.sub(r"\1.conv.\2", name.removeprefix(prefix))
        if ours.endswith(COUNTERS) or ours in IMAGE_STATISTICS:
            continue
        if ours in result:
            raise UserError(f"{source}: {result[ours]} and {name} are the same weight")
        result[ours] = name
    if "bbox_head.fc_cls.weight" in result:
        raise UserError(
            f"{source}: was written by mmdetection 1, which numbers classes and "
            "measures boxes in another way; convert it with mmdetection 2's "
            "tools/model_converters/upgrade_model_version.py"
        )
    return result


def image_statistics(names: Iterable[str]) -> dict[str, str]:
    """Returns the name in the file of the mean and the deviation that it may have."""
    names = list(names)
    prefix = common_prefix(names)
    ours = {name.removeprefix(prefix): name for name in names}
    return {name: ours[name] for name in IMAGE_STATISTICS if name in ours}


def backbone_names(names: Iterable[str], source: str) -> dict[str, str]:
    """Returns the name in the file by our name, of a ResNet's weights.

    Args:
        names: of torchvision's ResNet (`layer1.0.conv1.weight`), whose classifier is
            left out, or of a detector with such a backbone.
        source: the file, for messages.

    Raises:
        UserError: there is no ResNet among them.
    """
    names = list(names)
    prefix = common_prefix(names)
    result: dict[str, str] = {}
    for name in names:
        short = name.removeprefix(prefix)
        inside = short.startswith(BACKBONE)
        short = short.removeprefix(BACKBONE)
        if short.endswith(COUNTERS) or _CLASSIFIER.fullmatch(short):
            continue
        if _STAGE.match(short):
            if BACKBONE + short in result:
                raise UserError(
                    f"{source}: {result[BACKBONE + short]} and {name} are the same "
                    "weight"
                )
            result[BACKBONE + short] = name
        elif inside:
            raise UserError(f"{source}: {name} is not part of a ResNet")
    if f"{BACKBONE}conv1.weight" not in result:
        raise UserError(f"{source}: no ResNet in it (no conv1.weight)")
    return result


def common_prefix(names: list[str]) -> str:
    """All of `PREFIXES` that stand before every name, in any order."""
    prefix = ""
    while names:
        longer = next(
            (p for p in PREFIXES if all(n.startswith(prefix + p) for n in names)), None
        )
        if longer is None:
            break
        prefix += longer
    return prefix
