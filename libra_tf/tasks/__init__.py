"""Model Garden tasks with our seams: model parts, losses, labels, evaluation.

Importing this package registers the tasks for the settings in
`libra_tf.experiments`.
"""

from libra_tf.tasks.maskrcnn import LibraMaskRCNNTask
from libra_tf.tasks.retinanet import LibraRetinaNetTask

__all__ = ["LibraMaskRCNNTask", "LibraRetinaNetTask"]
