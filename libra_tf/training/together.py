"""A run of several processes: what the chief decides before it begins."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from libra_tf.errors import UserError
from libra_tf.experiments.stock import is_libra_experiment
from libra_tf.files.disk import named_disk_errors
from libra_tf.files.lock import locked_run
from libra_tf.training.cluster import Cluster, Place
from libra_tf.training.loop import Job
from libra_tf.training.prepare import prepare
from libra_tf.training.resume import Start, find_newest, find_start
from libra_tf.training.strategy import build_strategy


@contextlib.contextmanager
def joined(
    job: Job, place: Place
) -> Iterator[tuple[Job, Start, tf.distribute.Strategy]]:
    """Connects the processes, and agrees on where the run goes on.

    The chief holds the folder of the run. The others do all that it does, since reading
    a variable may take all of them, but in a folder that is removed at the end.

    Args:
        job: what this process was asked for.
        place: which of the processes it is.

    Yields:
        What it has to do, where that begins, and the devices of all.

    Raises:
        UserError: the run is refused, in this process or another.
    """
    strategy = build_strategy(job.params.runtime)
    cluster = Cluster(place, strategy)
    job = dataclasses.replace(job, async_checkpoints=False, cluster=cluster)
    _agree_on_seed(job)
    start, home = Start(job.model_dir), job.model_dir
    with contextlib.ExitStack() as stack:
        with cluster.together(), named_disk_errors(folder=home):
            _refuse(job)
            prepare(job.params, strategy)
            if cluster.is_chief and job.trains:
                stack.enter_context(locked_run(home))
                start = find_start(home)
            elif cluster.is_chief:
                start = find_newest(home)
        start = Start(**cluster.from_chief(dataclasses.asdict(start)))
        with cluster.together(), named_disk_errors():
            if not cluster.is_chief:
                scratch = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="libra-worker-")
                )
                nobody = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                job = dataclasses.replace(job, model_dir=scratch, stream=nobody)
        yield job, start, strategy


def _agree_on_seed(job: Job) -> None:
    """Else each would shuffle the files in its own way, and their parts would meet."""
    data, trainer = job.params.task.train_data, job.params.trainer
    seed = job.cluster.from_chief(random.randrange(2**31))
    if data.seed is None and getattr(trainer, "seed", None) is None:
        data.seed = seed


def _refuse(job: Job) -> None:
    if job.mode == "continuous_eval":
        raise UserError(
            "--mode continuous_eval is for one process: run it without TF_CONFIG"
        )
    if "eval" in job.mode and not is_libra_experiment(job.params):
        raise UserError(
            "Model Garden's own evaluator sees the images of one process only: take an "
            "experiment of this package, or --mode train"
        )
