"""What a figure was measured on, and with which code."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import libra_tf


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """Returns the name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [x.partition(":")[2] for x in text.splitlines() if "model name" in x]
    return names[0].strip() if names else platform.machine()


def code_version() -> str:
    """Returns the commit of a checkout, "-dirty" if it is changed, or the version."""
    root = Path(libra_tf.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return libra_tf.__version__
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(
            words, cwd=root, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return libra_tf.__version__
    return found.stdout.strip()
