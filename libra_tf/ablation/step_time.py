"""Times the training steps of two experiments by turns, in one process.

    python -m libra_tf.ablation.step_time SETTINGS ROUNDS STEPS RESULT

SETTINGS is a JSON file with the settings of the two; RESULT gets the figures.

The steps (forward, backward, update) run on a few batches that were kept, so the input
pipeline does not count. The first calls of each, which compile, do not count either.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from libra_tf.files import environment
from libra_tf.files.json_files import read_json, write_json

_BATCHES = 4


def compare(
    first: Callable[[], None], second: Callable[[], None], rounds: int, steps: int
) -> dict[str, float]:
    """Calls two functions by turns; returns how long the second takes beside the first.

    Args:
        first: runs `steps` steps of the baseline.
        second: runs `steps` steps of the row.
        rounds: calls of each that count; those before, which compile and fill the
            kept batches, do not.
        steps: for the time of one step.

    Returns:
        `ratio`, the median over the rounds of second / first, with its quartiles
        `ratio_low` and `ratio_high`, and the median times of a step in milliseconds.
    """
    for _ in range(1 + math.ceil(_BATCHES / steps)):
        first()
        second()
    pairs = []
    for number in range(rounds):
        # A B, B A, A B, ...: who comes second has no advantage.
        order = (first, second) if number % 2 == 0 else (second, first)
        taken = {function: _seconds(function) for function in order}
        pairs.append((taken[first], taken[second]))
    ratios = [b / a for a, b in pairs]
    low, _, high = _quartiles(ratios)
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": low,
        "ratio_high": high,
        "baseline_ms": 1000 * statistics.median(a for a, _ in pairs) / steps,
        "row_ms": 1000 * statistics.median(b for _, b in pairs) / steps,
        "rounds": rounds,
        "steps_per_round": steps,
    }


def build_steps(settings: dict[str, Any], steps: int) -> Callable[[], None]:
    """Builds an experiment; returns a function that runs `steps` training steps."""
    import tensorflow as tf
    from official.core import task_factory, train_utils

    import libra_tf.tasks  # noqa: F401  (registration)
    from libra_tf.experiments.saved import get_experiment, override
    from libra_tf.training.prepare import prepare
    from libra_tf.training.trainer import Trainer

    params = get_experiment(settings["experiment"])
    override(params, settings, "settings")
    strategy = prepare(params)
    with strategy.scope():
        task = task_factory.get_task(params.task)
        model = task.build_model()

        def kept(context):
            data = task.build_inputs(params.task.train_data, context)
            return data.take(_BATCHES).cache().repeat()

        trainer = Trainer(
            params,
            task,
            model=model,
            optimizer=train_utils.create_optimizer(task, params),
            evaluate=False,
            train_dataset=strategy.distribute_datasets_from_function(kept),
        )
    count = tf.constant(steps)

    def run() -> None:
        trainer.train(count)
        trainer.global_step.numpy()  # waits for the device

    return run


def main(argv: Sequence[str]) -> None:
    """See the module."""
    path, rounds, steps, result = argv
    environment.prepare()
    pair = read_json(path)
    load = os.getloadavg()[0]
    first, second = (build_steps(settings, int(steps)) for settings in pair)
    figures = compare(first, second, int(rounds), int(steps))
    batch_size = pair[1]["task"]["train_data"]["global_batch_size"]
    extra = {"batch_size": batch_size, "load_average": round(load, 2)}
    write_json(result, {**figures, **extra}, indent=1)


def _seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _quartiles(values: Sequence[float]) -> list[float]:
    if len(values) < 2:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


if __name__ == "__main__":
    main(sys.argv[1:])
