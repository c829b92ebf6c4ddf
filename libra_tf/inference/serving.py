"""The serving form of a detector, from which SavedModels are made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.serving import detection, export_saved_model_lib

from libra_tf.data.manifest import file_ids_of
from libra_tf.errors import UserError
from libra_tf.experiments.stock import is_libra_experiment, of_ours
from libra_tf.experiments.task_config import names_by_id
from libra_tf.files.atomic import write_text
from libra_tf.inputs.padded_input import fit_image
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.models.retinanet import build_retinanet
from libra_tf.ops.autograph import without_autograph
from libra_tf.weights.restore import checkpoint_step, require_all

INPUT_TYPES = ("image_tensor", "image_bytes", "tf_example")
# One file takes them all; the first is what servers call by default.
SIGNATURES = {"image_tensor": "serving_default"} | {k: k for k in INPUT_TYPES[1:]}
DESCRIPTION = os.path.join("assets.extra", "libra_tf.json")
_DYNAMIC_BATCH_NMS = ("batched", "v2", "v3")


@without_autograph("_build_model", "serve")
class LibraDetectionModule(detection.DetectionModule):
    """Model Garden's serving module around our model.

    Model Garden's builds its stock detector from the same settings, whose weights are
    others. Experiments of Model Garden itself get Model Garden's.
    """

    def _build_model(self) -> tf_keras.Model:
        if not is_libra_experiment(self.params):
            return super()._build_model()
        config = self.params.task.model
        nms = config.detection_generator.nms_version
        # The reference's suppression takes any batch.
        stock = not config.detection_generator.is_reference
        if self._batch_size is None and stock and nms not in _DYNAMIC_BATCH_NMS:
            raise UserError(
                f"task.model.detection_generator.nms_version {nms!r} needs a fixed "
                f"batch size: give --batch_size, or use {_DYNAMIC_BATCH_NMS[1]!r}"
            )
        size = [None, None] if config.fits_each_image else self._padded_size
        specs = tf_keras.layers.InputSpec(shape=[self._batch_size, *size, 3])
        two_stage = self.params.task.is_two_stage
        return (build_maskrcnn if two_stage else build_retinanet)(specs, config)

    def preprocess(self, images: tf.Tensor) -> tuple:
        """Returns the detector's input, anchors (None: its own) and image_info."""
        if not of_ours(self.params.task.model, "fits_each_image"):
            return super().preprocess(images)
        with tf.device("cpu:0"):
            fitted, info = fit_image(images, self.params.task.model.canvas)
            return fitted, None, tf.tile(info[tf.newaxis], [tf.shape(images)[0], 1, 1])


def build_module(
    params: Any,
    *,
    batch_size: int | None = None,
    input_size: list[int] | None = None,
    input_type: str = "image_tensor",
) -> LibraDetectionModule:
    """Returns the serving module, with random weights.

    Args:
        params: a resolved experiment.
        batch_size: fixed batch size; None for any.
        input_size: [height, width] that images are resized to; the experiment's if
            None.
        input_type: kind of input, see `INPUT_TYPES`.
    """
    size = _input_size(params, input_size)
    module = LibraDetectionModule(
        params=params,
        batch_size=batch_size,
        input_image_size=size,
        input_type=input_type,
    )
    # Tracing creates the weights. Calling the model would too, but then Keras would
    # save it with a training step, for which there are no labels.
    module.get_inference_signatures({input_type: "trace"})
    return module


def export_saved_model(
    params: Any,
    checkpoint: str,
    export_dir: str,
    *,
    batch_size: int | None = None,
    input_size: list[int] | None = None,
    **options: Any,
) -> str:
    """Writes `export_dir`/saved_model with all signatures, checkpoint and params.yaml.

    Args:
        params: a resolved experiment.
        checkpoint: checkpoint prefix.
        export_dir: output folder.
        batch_size: fixed batch size; None for any.
        input_size: [height, width]; the experiment's if None.
        **options: passed on to Model Garden's `export_inference_graph`.

    Returns:
        The folder of the SavedModel.
    """
    options.setdefault("input_type", "image_tensor")
    options.setdefault("function_keys", SIGNATURES)
    options.setdefault("export_saved_model_subdir", "saved_model")
    size = _input_size(params, input_size)
    module = build_module(
        params,
        batch_size=batch_size,
        input_size=input_size,
        input_type=options["input_type"],
    )
    require_all(checkpoint, {"model": module.model})
    export_saved_model_lib.export_inference_graph(
        batch_size=batch_size,
        input_image_size=size,
        params=params,
        checkpoint_path=checkpoint,
        export_dir=export_dir,
        export_module=module,
        **options,
    )
    folder = os.path.join(export_dir, options["export_saved_model_subdir"] or "")
    description = describe_model(params, checkpoint)
    path = Path(folder, DESCRIPTION)
    path.parent.mkdir(exist_ok=True)
    write_text(path, [json.dumps(description, indent=1) + "\n"])
    return folder


def _input_size(params: Any, given: list[int] | None) -> list[int | None]:
    if not of_ours(params.task.model, "fits_each_image"):
        return [*(given or params.task.model.input_size[:2])]
    if given:
        raise UserError(
            f"the input size {given} does not go with task.model.canvas.form reference:"
            " set task.model.canvas.short_side and long_side"
        )
    return [None, None]


def describe_model(params: Any, checkpoint: str) -> dict[str, Any]:
    """Returns what a user of the SavedModel cannot see in its signatures."""
    model = params.task.model
    fits_each_image = of_ours(model, "fits_each_image")
    file_ids = file_ids_of(of_ours(params.task, "dataset"))
    return {
        "experiment": of_ours(params, "experiment"),
        "class_names": names_by_id(params.task),
        **({"file_ids": file_ids} if file_ids else {}),
        "input_size": list(model.input_size[:2]),
        "global_step": checkpoint_step(checkpoint),
        **({"canvas": model.canvas.as_dict()} if fits_each_image else {}),
    }
