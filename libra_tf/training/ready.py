"""What is looked at, and put in order, before the model of a run is built."""

from __future__ import annotations

from libra_tf.experiments.saved import PARAMS_FILE
from libra_tf.inputs.check_records import check_records
from libra_tf.training.loop import Job
from libra_tf.training.resume import Start, check_settings


def make_ready(job: Job, start: Start) -> None:
    """Makes the folder of a training as it was where the run goes on.

    Raises:
        UserError: the settings are of another run.
    """
    check_settings(job.params, start, PARAMS_FILE)
    for line in start.tidy(job.event_folders, best=job.mode != "train"):
        job.tell(line)


def check_data(job: Job) -> None:
    """Looks at the first records of the data.

    Raises:
        UserError: they do not fit the settings.
    """
    for line in check_records(job.params, job.data):
        job.tell(line)
