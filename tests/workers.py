"""Starts the processes of one training, as a cluster would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path


class Workers:
    """Processes that train together; the first is the chief.

    Args:
        words: arguments of `libra train`.
        count: number of processes.
        logs: an existing folder, for what each prints.
    """

    def __init__(self, words: list[str], count: int, logs: Path):
        hosts = [f"127.0.0.1:{port}" for port in _free_ports(count)]
        self.logs = [logs / f"worker-{i}.log" for i in range(count)]
        self.processes = [self._start(words, hosts, index) for index in range(count)]

    def _start(self, words: list[str], hosts: list[str], index: int):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": hosts}, "task": task})
        program = [sys.executable, "-m", "libra_tf.commands.main", "train", *words]
        with open(self.logs[index], "w", encoding="utf-8") as log:
            return subprocess.Popen(
                program,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TF_CONFIG": config, "TF_CPP_MIN_LOG_LEVEL": "3"},
            )

    def wait_for(self, text: str, seconds: float = 300) -> None:
        """Waits until the chief has printed a text."""
        end = time.monotonic() + seconds
        while text not in self.said(0):
            assert self.processes[0].poll() is None, self.said(0)
            assert time.monotonic() < end, f"no {text!r} in {self.said(0)}"
            time.sleep(0.1)

    def codes(self, seconds: float = 300) -> list[int]:
        """Waits for the end of all; returns their exit codes."""
        try:
            return [process.wait(seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def said(self, index: int) -> str:
        """What one has printed."""
        return self.logs[index].read_text(encoding="utf-8")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
