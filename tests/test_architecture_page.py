"""docs/architecture.md and its picture: every room, above what it imports."""

import re
from pathlib import Path
from xml.etree import ElementTree

from test_architecture import BELOW, PACKAGE

ROOT = Path(__file__).parents[1]
# What is no room of the package, and what every room may import.
OUTSIDE, EVERYWHERE = {"scripts"}, {"errors"}


def package_rooms():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    return (folders | files) - EVERYWHERE


def floors():
    """Height of each room in the picture; lower on the page is a larger number."""
    tree = ElementTree.parse(ROOT / "docs" / "floors.svg")
    texts = tree.iter("{http://www.w3.org/2000/svg}text")
    return {t.text: float(t.get("y")) for t in texts if t.get("class") == "room"}


def test_the_page_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("| room |")[1].split("\n\n")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == package_rooms() | OUTSIDE


def test_the_picture_has_every_room():
    assert set(floors()) == package_rooms() | OUTSIDE


def test_arrows_go_down_in_the_picture():
    floor = floors()
    for room, allowed in BELOW.items():
        for other in allowed - EVERYWHERE:
            assert floor[other] > floor[room], f"{room} imports {other}"
