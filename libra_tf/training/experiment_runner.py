"""Model Garden's runner and Orbit's controller for runs that are interrupted.

Their intervals (loop, evaluation, checkpoint) are counted from where a process began.
Here they are counted from step 0, so that a run that stopped at any step has them where
an uninterrupted one has.
"""

from __future__ import annotations

from typing import Any

import orbit
from official.core import actions, train_lib

from libra_tf.training.checkpoints import CheckpointManager, raise_failed_save


class Controller(orbit.Controller):
    """Orbit's controller, whose loops and evaluations end at multiples."""

    @property
    def steps_per_loop(self) -> int:
        """Steps up to the next multiple of the length of a loop."""
        return self._to_next(super().steps_per_loop)

    def train_and_evaluate(
        self, train_steps: int, eval_steps: int = -1, eval_interval: int | None = None
    ) -> orbit.runner.Output | None:
        """Trains up to `train_steps`; see the base class."""
        step = int(self.global_step.numpy())
        if eval_interval and step % eval_interval and step < train_steps:
            next_one = min(step + self._to_next(eval_interval), train_steps)
            self.train(next_one, checkpoint_at_completion=False)
            self.evaluate(eval_steps)
        return super().train_and_evaluate(train_steps, eval_steps, eval_interval)

    def _to_next(self, interval: int) -> int:
        return interval - int(self.global_step.numpy()) % interval


class ExperimentRunner(train_lib.OrbitExperimentRunner):
    """Model Garden's runner with our controller and manager of checkpoints.

    Args:
        first: what to restore, where it is not the newest in the folder; see
            `CheckpointManager`.
        **kwargs: see the base class.
    """

    def __init__(self, *, first: str | None = None, **kwargs: Any):
        self._first = first
        super().__init__(controller_cls=Controller, **kwargs)

    def finish_saves(self) -> None:
        """Waits for a save in the background; raises its error if it had one."""
        self.checkpoint_manager.sync()
        raise_failed_save(self.trainer.checkpoint)

    def save_now(self) -> str:
        """Saves where no checkpoint is due; returns the newest."""
        self.finish_saves()  # which would else name its own the newest, later
        manager, step = self.checkpoint_manager, int(self.trainer.global_step.numpy())
        path = manager.save(checkpoint_number=step, check_interval=False)
        return path or manager.latest_checkpoint

    def go_back(self) -> str | None:
        """Restores the newest checkpoint; returns it, or None if there is none."""
        self.finish_saves()
        self._close_event_files()
        manager = self.checkpoint_manager
        self.controller.step_timer = None  # it counts from a later step
        if manager.latest_checkpoint:
            self.controller.restore_checkpoint(manager.latest_checkpoint)
        return manager.latest_checkpoint

    def _close_event_files(self) -> None:
        """So that they can be cut; what is told next goes into new ones."""
        managers = self.controller.summary_manager, self.controller.eval_summary_manager
        for manager in filter(None, managers):
            for writer in manager._summary_writers.values():
                writer.close()
            manager._summary_writers.clear()

    def _build_controller(self, *args: Any, **kwargs: Any) -> orbit.Controller:
        controller = super()._build_controller(*args, **kwargs)
        for action in controller.eval_actions:
            if isinstance(action, actions.EMACheckpointing):
                # Averages have BatchNorm's statistics beside them.
                stock = action._checkpoint_manager
                action._checkpoint_manager = CheckpointManager(
                    stock.checkpoint,
                    directory=stock.directory,
                    max_to_keep=self.params.trainer.max_to_keep,
                    checkpoint_name="average_weights",
                )
        return controller

    def _maybe_build_checkpoint_manager(self) -> CheckpointManager:
        trainer = self.params.trainer
        return CheckpointManager(
            self.trainer.checkpoint,
            directory=self.model_dir,
            max_to_keep=trainer.max_to_keep,
            step_counter=self.trainer.global_step,
            checkpoint_interval=trainer.checkpoint_interval,
            init_fn=self.trainer.initialize,
            first=self._first,
        )
