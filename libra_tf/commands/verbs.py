"""Sub-commands whose examples keep their line breaks."""

from __future__ import annotations

import argparse
from typing import Any

DATA_HELP = (
    "folder of `libra data convert`, or one that it reads, which is converted into "
    "DIR_tfr"
)


def add_verb(
    verbs: Any, name: str, text: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Adds a sub-command to what `add_subparsers` returned, and returns its parser."""
    return verbs.add_parser(
        name,
        help=text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
