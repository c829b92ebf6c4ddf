"""The serving form of a detector, from which SavedModels are made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.serving import detection, export_saved_model_lib
from tf_keras.src.saving.legacy.saved_model.utils import keras_option_scope

from libra_tf.data.manifest import file_ids_of
from libra_tf.errors import UserError
from libra_tf.experiments.stock import is_libra_experiment, of_ours
from libra_tf.experiments.task_config import names_by_id
from libra_tf.files.atomic import write_text
from libra_tf.inference.encoded_images import (
    map_each,
    mark_unreadable,
    read_example,
    read_image,
    without_unreadable,
)
from libra_tf.inference.thin_images import info_of_original, widen
from libra_tf.inputs.padded_input import fit_image
from libra_tf.inputs.picture import without_padding
from libra_tf.models.maskrcnn import build_maskrcnn
from libra_tf.models.retinanet import build_retinanet
from libra_tf.ops.autograph import without_autograph
from libra_tf.weights.restore import checkpoint_step, restore_all

INPUT_TYPES = ("image_tensor", "image_bytes", "tf_example")
# One file takes them all; the first is what servers call by default.
SIGNATURES = {"image_tensor": "serving_default"} | {k: k for k in INPUT_TYPES[1:]}
DESCRIPTION = os.path.join("assets.extra", "libra_tf.json")
_DYNAMIC_BATCH_NMS = ("batched", "v2", "v3")
# Images that are decoded and resized at a time, as in Model Garden.
_PARALLEL = 32


@without_autograph("_build_model", "serve")
class LibraDetectionModule(detection.DetectionModule):
    """Model Garden's serving module around our model.

    Model Garden's builds its stock detector from the same settings, whose weights are
    others. Experiments of Model Garden itself get Model Garden's. Files of images may
    have any sizes, in one batch too, and a damaged one costs only its own answer.
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
        # Files of unequal sizes are detected in one by one then.
        one_by_one = config.fits_each_image
        size = [None] * 3 if one_by_one else [self._batch_size, *self._padded_size]
        specs = tf_keras.layers.InputSpec(shape=[*size, 3])
        two_stage = self.params.task.is_two_stage
        return (build_maskrcnn if two_stage else build_retinanet)(specs, config)

    def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detects in images or files, see `preprocess`."""
        return _detect(self, self.preprocess(images))

    def preprocess(self, images: tf.Tensor | tuple) -> tuple:
        """Returns the detector's input, anchors (None: its own) and image_info.

        Args:
            images: uint8 [B, H, W, 3], or string [B] with files; what this returned
                is returned as it is.
        """
        if isinstance(images, tuple):
            return images
        if images.dtype == tf.string:
            return self._preprocess_files(images)
        model = self.params.task.model
        if not self._fits_each_image:
            images, anchors, info = super().preprocess(images)
            clips = of_ours(model, "clip_to_image")
            return images, anchors, without_padding(info) if clips else info
        with tf.device("cpu:0"):
            fitted, info = fit_image(images, model.canvas)
            return fitted, None, tf.tile(info[tf.newaxis], [tf.shape(images)[0], 1, 1])

    def _build_inputs(self, image: tf.Tensor) -> tuple:
        widened = widen(image, self._input_image_size)
        scaled, anchors, info = super()._build_inputs(widened)
        return scaled, anchors, info_of_original(info, image, widened)

    @tf.function(autograph=False)
    def inference_from_image_bytes(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detects in files, string [B], see `decode_upright`."""
        return self._detect_in_files(inputs)

    @tf.function(autograph=False)
    def inference_from_tf_example(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detects in the files of serialized examples, string [B]."""
        with tf.device("cpu:0"):
            files = map_each(read_example, inputs, _PARALLEL)
        return self._detect_in_files(files)

    @property
    def _fits_each_image(self) -> bool:
        return bool(of_ours(self.params.task.model, "fits_each_image"))

    def _detect_in_files(self, files: tf.Tensor) -> dict[str, tf.Tensor]:
        if self._fits_each_image:
            return without_unreadable(map_each(self._detect_in_file, files, 1))
        return without_unreadable(self.serve(files))

    def _detect_in_file(self, file: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.device("cpu:0"):
            image, is_readable = read_image(file)
        outputs = self.serve(image[tf.newaxis])
        info = mark_unreadable(outputs["image_info"], is_readable[tf.newaxis])
        outputs = {**outputs, "image_info": info}
        return tf.nest.map_structure(lambda x: x[0], outputs)

    def _preprocess_files(self, files: tf.Tensor) -> tuple:
        with tf.device("cpu:0"):
            *prepared, info, is_readable = map_each(self._prepare, files, _PARALLEL)
            return *prepared, mark_unreadable(info, is_readable)

    def _prepare(self, file: tf.Tensor) -> tuple:
        image, is_readable = read_image(file)
        prepared = self.preprocess(image[tf.newaxis])
        return *tf.nest.map_structure(lambda x: x[0], prepared), is_readable


@tf.function(autograph=False)
def _detect(module: LibraDetectionModule, prepared: tuple) -> dict[str, tf.Tensor]:
    """Traced once for all signatures; an attribute of the module would be saved too."""
    return detection.DetectionModule.serve(module, prepared)


class _Exported(tf.Module):
    """What a SavedModel holds: the weights, beside the signatures.

    The functions of the module itself would be traced and written a second time.
    """

    def __init__(self, module: detection.DetectionModule):
        super().__init__()
        self.model = module.model
        self.get_inference_signatures = module.get_inference_signatures


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
    if not is_libra_experiment(params):
        # Tracing creates the weights of Model Garden's heads. Calling the model would
        # too, but then Keras would save it with a training step, without labels.
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
    restore_all(checkpoint, {"model": module.model})  # refuses what is not whole
    # The signatures are all that is called: Keras need not trace each layer too.
    with keras_option_scope(save_traces=False):
        export_saved_model_lib.export_inference_graph(
            batch_size=batch_size,
            input_image_size=size,
            params=params,
            checkpoint_path=checkpoint,
            export_dir=export_dir,
            export_module=_Exported(module),
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
    file_ids = file_ids_of(
        of_ours(params.task, "dataset"), of_ours(params.task, "train_split")
    )
    return {
        "experiment": of_ours(params, "experiment"),
        "class_names": names_by_id(params.task),
        **({"file_ids": file_ids} if file_ids else {}),
        "input_size": list(model.input_size[:2]),
        "global_step": checkpoint_step(checkpoint),
        **({"canvas": model.canvas.as_dict()} if fits_each_image else {}),
    }
