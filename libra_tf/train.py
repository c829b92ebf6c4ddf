r"""The Model Garden train binary with the experiments of this package.

    python -m libra_tf.train --experiment=libra_fasterrcnn_resnetfpn_coco \
        --mode=train_and_eval --model_dir=runs/first \
        --params_override=task.dataset=tfrecords

All flags are Model Garden's.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from libra_tf.files.environment import prepare

prepare()

import gin
import yaml
from absl import app, flags, logging
from official.common import flags as tfm_flags
from official.core import train_utils
from official.modeling.hyperparams import params_dict
from official.vision import train as tfm_train  # defines its own flag

from libra_tf.errors import UserError, terminate
from libra_tf.experiments.files import find_config
from libra_tf.experiments.saved import load_experiment, override
from libra_tf.files.printable import safe_output
from libra_tf.training.runner import run

FLAGS = tfm_train.FLAGS


def parse_flags():
    """Returns the experiment that the flags describe."""
    gin.parse_config_files_and_bindings(FLAGS.gin_file, FLAGS.gin_params)
    FLAGS.config_file = [find_config(name) for name in FLAGS.config_file or ()]
    # Read twice: here for clear errors; what counts is what Model Garden reads, also
    # numbers such as 1e-4, which are text in plain YAML, and its flags for devices.
    params = load_experiment(FLAGS.experiment, FLAGS.config_file)
    _check_override(params, FLAGS.params_override)
    try:
        return train_utils.parse_configuration(
            FLAGS, lock_return=False, print_return=False
        )
    except (KeyError, ValueError, TypeError) as error:
        # The files are good, so it is the override, or a restriction it breaks.
        text = error.args[0] if error.args else error
        raise UserError(f"--params_override: {text}") from error


def _check_override(params: Any, text: str) -> None:
    """Refuses a setting that is not there, and tells the nearest."""
    if not text or text.endswith((".yaml", ".yml")):  # a file
        return
    try:
        content = yaml.safe_load(params_dict.nested_csv_str_to_json_str(text))
    except (ValueError, yaml.YAMLError):  # Model Garden tells what it cannot read.
        return
    if isinstance(content, dict):
        override(params, content, "--params_override")


def main(_: list[str]) -> None:
    """Trains; a `UserError` is one line on standard error, and exit code 2."""
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    signal.signal(signal.SIGTERM, terminate)
    with safe_output():
        try:
            run(
                parse_flags(),
                FLAGS.mode,
                FLAGS.model_dir,
                async_checkpoints=FLAGS.enable_async_checkpointing,
            )
        except UserError as error:
            print(f"libra_tf.train: error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        except KeyboardInterrupt as stop:
            sys.exit(getattr(stop, "exit_code", 130))


if __name__ == "__main__":
    tfm_flags.define_flags()
    flags.mark_flags_as_required(["experiment", "mode", "model_dir"])
    app.run(main)
