"""requirements.lock is the tested set, with a hash of each file."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(path):
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE)
    return {normal(name): version for name, version in found}


def test_the_lock_is_the_tested_set():
    locked = versions(ROOT / "requirements.lock")
    tested = versions(ROOT / "constraints.txt")
    assert {k: v for k, v in locked.items() if tested.get(k) != v} == {}
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needed = config["options"]["install_requires"].split()
    names = {normal(re.match(r"[\w.-]+", text)[0]) for text in needed}
    assert len(names) > 10
    assert names <= locked.keys()


def test_each_file_has_a_hash():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[\w.-]+==)", text)[1:]
    assert len(entries) == len(versions(ROOT / "requirements.lock"))
    for entry in entries:
        assert re.fullmatch(r".*( \\\n    --hash=sha256:[0-9a-f]{64})+\n?", entry), (
            entry
        )
