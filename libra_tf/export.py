r"""Model Garden's export binary for the detectors of this package.

    python -m libra_tf.export --experiment=libra_fasterrcnn_resnetfpn_coco \
        --config_file=runs/first/params.yaml --checkpoint_path=runs/first \
        --export_dir=exported --input_type=image_bytes --input_image_size=128,128

All flags are Model Garden's. `libra export` needs fewer.
"""

from __future__ import annotations

import sys

from libra_tf.files.environment import prepare

prepare()

from absl import app
from official.core.config_definitions import ExperimentConfig
from official.modeling import hyperparams
from official.vision.serving import export_saved_model as tfm_export  # defines flags

from libra_tf.errors import UserError
from libra_tf.experiments.files import find_config
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import load_experiment
from libra_tf.experiments.stock import is_libra_experiment, of_ours
from libra_tf.files.printable import safe_output
from libra_tf.inference.serving import INPUT_TYPES, export_saved_model
from libra_tf.weights.restore import checkpoint_path

FLAGS = tfm_export.FLAGS


def export() -> None:
    """Exports as the flags say."""
    for name in ("experiment", "checkpoint_path", "export_dir"):
        if not FLAGS[name].value:
            raise UserError(f"--{name} is missing")
    if FLAGS.input_type not in INPUT_TYPES:
        raise UserError(
            f"--input_type is {FLAGS.input_type!r}; choose {', '.join(INPUT_TYPES)}"
        )
    files = [find_config(name) for name in FLAGS.config_file or ()]
    params = load_experiment(FLAGS.experiment, files)
    if FLAGS.params_override:
        params = hyperparams.override_params_dict(
            params, FLAGS.params_override, is_strict=True
        )
    if is_libra_experiment(params):
        resolve(params)
    params.validate()
    params.lock()
    keys = {FLAGS.input_type: "serving_default"}
    if FLAGS.function_keys:
        pairs = [pair.split(":") for pair in FLAGS.function_keys.split(",")]
        if any(len(pair) != 2 for pair in pairs):
            raise UserError("--function_keys: write input_type:signature,...")
        keys = dict(pairs)
    export_saved_model(
        params,
        checkpoint_path(FLAGS.checkpoint_path),
        FLAGS.export_dir,
        batch_size=FLAGS.batch_size,
        input_size=_input_size(params),
        input_type=FLAGS.input_type,
        function_keys=keys,
        export_checkpoint_subdir=FLAGS.export_checkpoint_subdir,
        export_saved_model_subdir=FLAGS.export_saved_model_subdir,
        log_model_flops_and_params=FLAGS.log_model_flops_and_params,
        input_name=FLAGS.input_name,
        add_tpu_function_alias=FLAGS.add_tpu_function_alias,
    )


def _input_size(params: ExperimentConfig) -> list[int] | None:
    """The flag; its default is no wish where the input fits each image."""
    fits_each_image = of_ours(params.task.model, "fits_each_image")
    if fits_each_image and not FLAGS["input_image_size"].present:
        return None
    return [int(n) for n in FLAGS.input_image_size.split(",")]


def main(_: list[str]) -> None:
    """Exports; a `UserError` is one line on standard error, and exit code 2."""
    with safe_output():
        try:
            export()
        except UserError as error:
            print(f"libra_tf.export: error: {error}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    app.run(main)
