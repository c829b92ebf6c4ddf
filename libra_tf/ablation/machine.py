"""What a figure was measured on, and with which code."""

from __future__ import annotations

import hashlib
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
    """Returns the commit of a clean checkout.

    Otherwise the commit or the version goes before a digest of the package's sources,
    so that two runs with other code can be told apart.
    """
    package = Path(libra_tf.__file__).resolve().parent
    commit = _commit(package.parent)
    if commit and not commit.endswith("-dirty"):
        return commit
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{commit or libra_tf.__version__}+{digest.hexdigest()[:12]}"


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(
            words, cwd=root, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
