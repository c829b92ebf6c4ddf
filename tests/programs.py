"""Programs of the tests in processes of their own, which need not import TensorFlow.

A server imports it once, without the package, and forks for each program: devices,
threads, options and the modules of `libra_tf` are those of a new process. What a test
says of imports or of the environment at start-up needs a new interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tensorflow", "tf_keras", "official.vision.registry_imports"]
)


def run(
    words: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, *words], capture_output=True, text=True)`.

    Args:
        words: `-c` and a source, or `-m` and a module, then the program's arguments.
        cwd: folder to run in.
        env: all of the environment; None leaves it.
        timeout: seconds after which the program is killed.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        printed = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        place = os.fspath(cwd or os.getcwd())
        given = dict(os.environ if env is None else env)
        process = _FORKS.Process(target=_child, args=(words, place, given, printed))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout)
        out, err = (_read(path) for path in printed)
    return subprocess.CompletedProcess(list(words), process.exitcode, out, err)


def _read(path: str) -> str:
    file = pathlib.Path(path)
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _child(
    words: Sequence[str], cwd: str, env: Mapping[str, str], printed: Sequence[str]
) -> None:
    for number, path in enumerate(printed, start=1):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    # As Python begins: where it is run from, and what the environment adds.
    sys.path[:0] = ["", *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    kind, program, *rest = words
    sys.argv = [kind, *rest]
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
