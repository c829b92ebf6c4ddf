"""Reads changed inputs in processes of little memory, and judges what is said.

    python tests/fuzzing/run.py FOLDER KIND:FIRST:LAST ... KIND:found ...

Each input must be used, or be refused: with an exit code, or a `UserError` of lines
that can be printed, are short and name a file. Nothing may be left behind. Prints the
outcomes as JSON: of the seeds from FIRST to below LAST, or of the cases of `FOUND`.
"""

import contextlib
import functools
import importlib
import json
import os
import random
import re
import resource
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

KINDS = {
    "coco": "Coco", "voc": "Voc", "records": "Records", "dataset_json": "DatasetJson",
    "settings": "Settings", "plans": "Plans", "detections": "Detections",
    "pictures": "Pictures",
}  # fmt: skip
MEMORY = 800 * 2**20  # beyond what the process has once its modules are loaded
SECONDS = 5.0  # for each input, on a shared core
SILENCE = 15.0  # then a library in C does not come back
REFUSAL, PRINTED = 700, 1200  # characters of a line; a finding has ten names
SHOWN = 12  # lines: ten faults, how many more, what to do
# Lines of a list of faults that name no file.
_COUNTS = re.compile(r"and \d+ more|\d+ of \d+ (pictures|objects) are .*")


def load(name):
    """Returns the class of a kind."""
    return getattr(importlib.import_module(f"fuzzing.{name}"), KINDS[name])


def found_cases():
    """Yields kind and name of each case that was found."""
    for name in KINDS:
        for case in importlib.import_module(f"fuzzing.{name}").FOUND:
            yield name, case


class Judge:
    """Uses what a kind has written; see the module."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, str(folder)
        # As long as the process: handlers of logs keep the stream that they find.
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.stream = open(  # noqa: SIM115
            os.dup(self.log.fileno()), "w", errors="backslashreplace"
        )

    def outcome(self):
        """Returns whether all uses were good; raises for what must not be."""
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            outcomes = [self._use(use) for use in self.kind.uses()]
            return all(outcomes)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _use(self, use):
        from libra_tf.errors import UserError
        from libra_tf.files.disk import named_disk_errors

        before = [listing(folder) for folder in self.kind.kept]
        refusal = None
        with self._printed() as printed:
            try:
                with named_disk_errors():
                    code = use()
                good = not isinstance(code, int) or code == 0
            except UserError as error:
                good, refusal = False, str(error)
        for line in printed():
            assert line.isprintable(), f"printed {line!r}"
            assert len(line) <= PRINTED, f"printed {len(line)} characters: {line}"
            assert "Traceback" not in line, printed()
        if refusal is not None:
            self._check(refusal.split("\n"))
            after = [listing(folder) for folder in self.kind.kept]
            assert after == before, f"left behind: {after}"
        elif not good:
            assert any(self.folder in line for line in printed()), "says nothing"
        return good

    def _check(self, lines):
        assert len(lines) <= (SHOWN if self.kind.lists_faults else 1), lines
        for line in lines:
            assert line.isprintable(), repr(line)
            assert len(line) <= REFUSAL, f"{len(line)} characters: {line}"
            assert self.folder in line or _COUNTS.fullmatch(line), f"no file: {line}"

    @contextlib.contextmanager
    def _printed(self):
        """Catches what is printed, also by libraries in C."""
        self.log.seek(0)
        self.log.truncate()
        kept = [os.dup(1), os.dup(2)]
        for number in (1, 2):
            os.dup2(self.log.fileno(), number)
        try:
            with (
                contextlib.redirect_stdout(self.stream),
                contextlib.redirect_stderr(self.stream),
            ):
                yield self._lines
        finally:
            self.stream.flush()
            for number, handle in enumerate(kept, start=1):
                os.dup2(handle, number)
                os.close(handle)

    def _lines(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace").split("\n")


def listing(folder):
    """Returns what a folder holds; None if it is not there."""
    if not os.path.isdir(folder):
        return None
    files = sorted(Path(folder).rglob("*"))
    return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def run(name, folder, cases):
    """Returns the outcome of each case: whether it was good, and what went wrong.

    Args:
        name: of a kind.
        folder: to write to.
        cases: seeds, or names of `FOUND`.
    """
    outcomes = {}
    cases = list(cases)
    while cases:
        ended, begun, status = in_child(name, folder, cases)
        outcomes |= ended
        if begun is None:
            break
        outcomes[begun] = {"good": False, "seconds": 0.0, "error": status}
        cases = cases[cases.index(begun) + 1 :] if begun in cases else []
    return outcomes


def one(kind, judge, name, case):
    """Writes and uses one case."""
    start, good, error = time.monotonic(), False, None
    if isinstance(case, int):
        content = kind.generate(random.Random(f"{name} {case}"))
    else:
        content = kind.fresh()
        changed = importlib.import_module(f"fuzzing.{name}").FOUND[case](content)
        content = content if changed is None else changed
    kind.save(content)
    try:
        good = judge.outcome()
    except BaseException as raised:  # MemoryError and the alarm too
        error = shown(raised)
    return {"good": good, "seconds": time.monotonic() - start, "error": error}


def shown(error):
    """An error in a line, with the place in the product that it came from."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "libra_tf/" in file:
            place = f"{file.rpartition('libra_tf/')[2]}:{trace.tb_lineno} "
        trace = trace.tb_next
    return f"{place}{error!r}"[:600]


def in_child(name, folder, cases):
    """Runs cases in a process of little memory.

    Returns:
        The outcomes, the case that the process did not end, and how it ended itself.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with open(write, "w") as pipe:
            try:
                _work(name, folder, cases, pipe)
            except BaseException as error:
                print(json.dumps([None, shown(error)]), file=pipe)
        os._exit(0)
    os.close(write)
    lines, is_silent = _lines_of(read, child)
    status = f"the process ended: {os.waitpid(child, 0)[1]}"
    status = f"more than {SILENCE} seconds" if is_silent else status
    ended, begun = {}, None
    for case, outcome in map(json.loads, lines):
        if case is None:
            return ended, "preparation", outcome
        begun = case if outcome is None else None
        if outcome is not None:
            ended[case] = outcome
    return ended, begun, status


def _work(name, folder, cases, pipe):
    limit = _memory_now() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _too_long)
    kind = load(name)(folder)
    judge = Judge(kind, folder)
    for case in cases:
        print(json.dumps([case, None]), file=pipe, flush=True)
        print(json.dumps([case, one(kind, judge, name, case)]), file=pipe)


def _lines_of(handle, child):
    """Returns what a process writes, and whether it was ended since it did not."""
    data, is_silent = b"", True
    while select.select([handle], [], [], SILENCE)[0]:
        piece = os.read(handle, 1 << 16)
        if not piece:
            is_silent = False
            break
        data += piece
    if is_silent:
        os.kill(child, signal.SIGKILL)
    os.close(handle)
    return data.decode().splitlines(), is_silent


def _memory_now():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _too_long(*_):
    raise TimeoutError(f"more than {SECONDS} seconds")


def main(folder, *words):
    """Runs each kind in a process of its own; the modules are imported once."""
    _import()
    results = {}
    for word in words:
        name, *limits = word.split(":")
        is_found = limits == ["found"]
        found = importlib.import_module(f"fuzzing.{name}").FOUND
        cases = found if is_found else range(*map(int, limits))
        place = Path(folder).resolve() / word.replace(":", "_")
        place.mkdir(parents=True)
        results[word] = run(name, place, cases)
    print(json.dumps({word: list(each.items()) for word, each in results.items()}))


def _import():
    """What takes ten seconds, and starts no thread."""
    import tensorflow  # noqa: F401
    from official.modeling.hyperparams.base_config import Config

    import libra_tf.tasks  # noqa: F401
    from libra_tf.commands import ablate, config, data, eval  # noqa: F401
    from libra_tf.experiments.saved import get_experiment
    from libra_tf.inputs import check_records  # noqa: F401
    from libra_tf.training import evaluate, resume  # noqa: F401

    # Nine tenths of the time of an experiment.
    annotations = functools.cache(Config._get_annotations.__func__)
    Config._get_annotations = classmethod(annotations)
    get_experiment("libra_fasterrcnn_resnetfpn_coco")


if __name__ == "__main__":
    main(*sys.argv[1:])
