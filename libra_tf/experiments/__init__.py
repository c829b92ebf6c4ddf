"""Typed settings and the named experiments.

Importing this package registers the experiments with Model Garden, beside its own.
"""

from libra_tf.experiments import maskrcnn, retinanet  # noqa: F401  (registration)

NAMES = (
    "libra_fasterrcnn_resnetfpn_coco",
    "libra_maskrcnn_resnetfpn_coco",
    "libra_retinanet_resnetfpn_coco",
)
