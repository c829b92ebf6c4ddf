"""Runs an ablation: what is missing of it, with a line per finished run."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from libra_tf.ablation import children, machine, run_results
from libra_tf.ablation.plan import Plan
from libra_tf.ablation.runs import LOG_FILE, Run, begin
from libra_tf.ablation.tables import write_table
from libra_tf.ablation.timing import read_timing

_LOG_LINES = 5
_PROMPT = "$ "  # opens an attempt in a log


def execute(
    plan: Plan,
    scale: str,
    runs: Sequence[Run],
    out: str,
    *,
    jobs: int,
    stream: TextIO,
) -> list[tuple[Run, str]]:
    """Makes the runs that are not finished; returns those that failed, and why.

    After each run, results.csv and table.md are written again.

    Args:
        plan: for the table.
        scale: one of `plan.SCALES`.
        runs: in their order; checked against what was begun before.
        out: folder of the ablation.
        jobs: how many run at a time; each gets its share of the cores.
        stream: for progress.
    """
    todo = [run for run in runs if run.result is None]
    done = len(runs) - len(todo)
    print(f"{len(runs)} runs, {done} finished before", file=stream, flush=True)
    threads, start = max(1, machine.cores() // jobs), time.monotonic()
    failed: list[tuple[Run, str]] = []
    ended = children.run_all(_tasks(todo), jobs, threads if jobs > 1 else None)
    with contextlib.closing(ended):
        for number, (task, outcome) in enumerate(ended, start=1):
            run, commit = task.key
            error, text = _settle(plan, scale, run, outcome, threads, commit)
            left = (time.monotonic() - start) / number * (len(todo) - number)
            print(
                f"{done + number} of {len(runs)}: {run.name}: {text}, "
                f"{outcome.seconds / 60:.1f} min, ETA {_clock(left)}",
                file=stream,
                flush=True,
            )
            if error:
                failed.append((run, error))
                print(_tail(task.log), file=stream, flush=True)
            publish(plan, scale, out)
    return failed


def publish(plan: Plan, scale: str, out: str) -> list[dict[str, Any]]:
    """Writes results.csv and table.md from what is finished; returns the results."""
    found = run_results.collect(plan, scale, out)
    run_results.write_csv(found, out)
    write_table(plan, scale, found, out, read_timing(out))
    return found


def _tasks(runs: Sequence[Run]) -> Iterator[children.Task]:
    for run in runs:
        begin(run)
        log = os.path.join(run.folder, LOG_FILE)
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{_PROMPT}{run.command}\n")
        # The commit is that of the start; a checkout may change in the meantime.
        key = (run, machine.code_version())
        yield children.Task(key, run.process_words, log)


def _settle(
    plan: Plan,
    scale: str,
    run: Run,
    outcome: children.Outcome,
    threads: int,
    commit: str,
) -> tuple[str | None, str]:
    """Writes the result of a run; returns what went wrong, if so, and a word on it."""
    attempts = run_results.note_attempt(run, outcome)
    metrics = run_results.read_metrics(run) if outcome.code == 0 else None
    if metrics is not None:
        run_results.write_result(
            run, plan, scale, metrics, attempts, threads=threads, commit=commit
        )
        return None, f"AP {metrics['AP']:.3f}"
    reason = outcome.reason
    if outcome.code == 0:
        reason = "it ended without an evaluation at its last step"
    return reason, f"FAILED ({reason})"


def _tail(path: str) -> str:
    """Returns the last lines of the last attempt."""
    lines: list[str] = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(_PROMPT):
                lines = []
            elif line.strip():
                lines.append(line.rstrip())
    return "\n".join(f"    {line}" for line in lines[-_LOG_LINES:])


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02}"
