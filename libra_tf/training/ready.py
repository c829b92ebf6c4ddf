"""What is looked at, and put in order, before a run begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from libra_tf.experiments.lost_objects import lost_objects
from libra_tf.experiments.saved import PARAMS_FILE
from libra_tf.experiments.stock import is_libra_experiment
from libra_tf.files.writable import require_writable
from libra_tf.inputs.check_records import check_records
from libra_tf.training.loop import Job
from libra_tf.training.metrics_file import METRICS_FILE
from libra_tf.training.resume import Start, check_settings


def check(job: Job, start: Start) -> list[str]:
    """Looks at what can refuse a run before its model is built; changes nothing.

    Returns:
        Lines on what limits cost on the data.

    Raises:
        UserError: settings of another run, files that cannot be written, records that
            do not fit the settings.
    """
    if job.trains:
        check_settings(job.params, start, PARAMS_FILE)
    require_writable(job.folders, job.grown_files, job.replaced_files)
    for line in check_records(job.params, job.data):
        job.tell(line)
    if not is_libra_experiment(job.params):
        return []
    return lost_objects(job.params.task, job.trains, job.mode != "train")


def make_ready(job: Job, start: Start) -> None:
    """Makes the folder of a training as it was where the run goes on.

    The chief does; other processes get a copy of what a run reads there besides
    checkpoints.
    """
    with job.cluster.together():
        if job.trains and job.cluster.is_chief:
            for line in start.tidy(job.event_folders, best=job.mode != "train"):
                job.tell(line)
    if job.cluster.is_chief:
        return
    best = Path(job.best_folder).relative_to(job.model_dir)
    for name in (Path(METRICS_FILE), best / "info.json"):
        if Path(start.model_dir, name).is_file():
            Path(job.model_dir, name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(start.model_dir, name), Path(job.model_dir, name))
