"""One line per interval for people, the same as JSON lines for programs."""

from __future__ import annotations

import json
import math
import os
import time
from typing import Any, TextIO

import numpy as np

from libra_tf.errors import UserError
from libra_tf.training.metrics_file import METRICS_FILE

# What follows on a loss or gradient that is not finite.
NOT_FINITE_CURE = (
    "nothing was saved since the last checkpoint. Lower the learning rate, clip "
    "gradients, or look for degenerate boxes with `libra data info`"
)
# Shown in this order where they exist; everything goes to the JSON lines.
_HEADLINES = ("AP", "AP50", "AP75", "mask_AP", "AR@100")


class Progress:
    """Tells how far training is, and stops it when a loss is no number any more.

    Use `on_train` and `on_eval` as Orbit actions. They run before Orbit saves a
    checkpoint, so weights that gave a non-finite loss are not written.

    Args:
        trainer: has `global_step`, and `checkpoint_exporter` if the best is kept.
        total_steps: number of training steps.
        batch_size: global batch size.
        folder: where `metrics.jsonl` grows.
        stream: where lines for people go.
    """

    def __init__(
        self,
        trainer: Any,
        total_steps: int,
        batch_size: int,
        folder: str,
        stream: TextIO,
    ):
        self._trainer = trainer
        self._total = total_steps
        self._batch_size = batch_size
        self._path = os.path.join(folder, METRICS_FILE)
        self._stream = stream
        self._rate: float | None = None
        self._intervals = 0
        self._last_step = self._step()
        self._clock = time.monotonic()

    def on_train(self, output: dict[str, Any]) -> None:
        """Reports one interval of training.

        Raises:
            UserError: a loss is NaN or infinite.
        """
        step, values = self._step(), _scalars(output)
        self._check_finite(step, values)
        steps, seconds = step - self._last_step, time.monotonic() - self._clock
        self._last_step, self._clock = step, time.monotonic()
        rate = steps * self._batch_size / max(seconds, 1e-9)
        eta = self._remaining(step, rate)
        self._write(
            {"kind": "train", "step": step, "examples_per_second": rate}, values
        )
        total = values.pop("total_loss", values.get("training_loss", math.nan))
        # Zero is a loss that this detector does not have (a mask loss without masks).
        parts = " ".join(
            f"{name.removesuffix('_loss')} {value:.3f}"
            for name, value in values.items()
            if name.endswith("_loss")
            and name not in ("training_loss", "model_loss")
            and value
        )
        width = len(str(self._total))
        shown = [
            f"step {step:>{width}}/{self._total}",
            f"loss {total:.3f}",
            parts,
            *_state(values),
            f"{rate:.1f} examples/s",
            f"ETA {eta}",
        ]
        self._say("  ".join(filter(None, shown)))

    def go_back(self) -> None:
        """Counts from the present step, which is lower than at the last report."""
        self._last_step, self._clock = self._step(), time.monotonic()

    def on_eval(self, output: dict[str, Any]) -> None:
        """Reports one evaluation."""
        step, values = self._step(), _scalars(output)
        seconds = time.monotonic() - self._clock
        self._clock = time.monotonic()
        self._write({"kind": "validation", "step": step, "seconds": seconds}, values)
        shown = "  ".join(
            f"{k} {values[k]:.3f}" if values[k] >= 0 else f"{k} n/a (no objects)"
            for k in _HEADLINES
            if k in values
        )
        images = int(values.get("num_images_evaluated", 0))
        missing = int(values.get("num_images_missing", 0))
        of = f" of {images + missing}: a subset!" if missing else ""
        seen = f"{images} images{of}, {seconds:.0f} s"
        exporter = getattr(self._trainer, "checkpoint_exporter", None)
        is_best = exporter is not None and exporter.best_step == step
        new = "  new best" if is_best else ""
        self._say(f"validation at step {step}: {shown}  ({seen}){new}")

    def _step(self) -> int:
        return int(self._trainer.global_step.numpy())

    def _check_finite(self, step: int, values: dict[str, float]) -> None:
        bad = [name for name, v in values.items() if not math.isfinite(v)]
        if bad:
            raise UserError(
                f"step {step}: {', '.join(bad)} is not finite; training stopped and "
                f"{NOT_FINITE_CURE}"
            )

    def _remaining(self, step: int, rate: float) -> str:
        """Time left; the first interval, which traces the graph, tells little."""
        self._intervals += 1
        if self._intervals > 2 and self._rate is not None:
            rate = 0.7 * self._rate + 0.3 * rate
        self._rate = rate
        seconds = round((self._total - step) * self._batch_size / max(rate, 1e-9))
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        text = (
            f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        )
        return f"under {text}" if self._intervals == 1 else text

    def _write(self, head: dict[str, Any], values: dict[str, float]) -> None:
        line = json.dumps({**head, **{k: _json_number(v) for k, v in values.items()}})
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _state(values: dict[str, float]) -> list[str]:
    """Learning rate, share of the time waited for data, memory: what is known."""
    formats = {
        "learning_rate": "lr {:.3g}",
        "data_wait_share": "data wait {:.0%}",
        "peak_memory_gib": "memory {:.1f} GiB",
    }
    return [text.format(values[k]) for k, text in formats.items() if k in values]


def _scalars(output: dict[str, Any]) -> dict[str, float]:
    arrays = {name: np.asarray(value) for name, value in output.items()}
    return {
        name: float(a)
        for name, a in arrays.items()
        if a.ndim == 0 and np.issubdtype(a.dtype, np.number)
    }


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
