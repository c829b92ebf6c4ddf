"""`libra data verify`: every record of a converted folder, read and checked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

VERIFY = """\
Reads every record of every shard: its checksum and content, its picture, which is
decoded, its boxes and classes; and compares the counts with dataset.json and the
annotation files. All faults are told, by file and number of the record in it, from 0.
Ends with 0 if there are none, else with 2.

example:
  libra data verify shapes_tfr
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument("folder", metavar="OUT", help="folder with dataset.json")


def run(args: argparse.Namespace) -> int:
    """Verifies; returns the exit code."""
    from libra_tf.data.verify import verify
    from libra_tf.errors import printable, shortened

    reports = verify(args.folder)
    faults = [fault for report in reports.values() for fault in report.faults]
    if args.json:
        content = {name: dataclasses.asdict(each) for name, each in reports.items()}
        print(json.dumps({"folder": args.folder, "splits": content}, indent=1))
    else:
        for name, report in reports.items():
            print(
                f"{name}: {report.files} files, {report.records} records, "
                f"{report.objects} objects, {len(report.faults)} faults"
            )
        for fault in faults:
            print(f"  {shortened(printable(str(fault)))}")
    if faults:
        print(
            f"libra: error: {args.folder}: {len(faults)} faults; convert the data "
            "again",
            file=sys.stderr,
        )
    return 2 if faults else 0
