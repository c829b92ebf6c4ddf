"""Data: read COCO and Pascal VOC, check it, write TFRecords, make a small set.

Nothing here imports Model Garden, and TensorFlow loads only where TFRecords are
written. A converted folder is described by its `dataset.json`; see `load_manifest`.
"""

from libra_tf.data.manifest import Manifest, SplitFiles, load_manifest

__all__ = ["Manifest", "SplitFiles", "load_manifest"]
