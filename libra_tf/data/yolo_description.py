"""What a set in YOLO's layout says of itself: class names, and where its splits are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from libra_tf.data.folder_listing import Listing
from libra_tf.data.image_names import SUFFIXES
from libra_tf.data.split_names import exact_split
from libra_tf.data.yolo import LabelFormat, read_lines
from libra_tf.errors import UserError

YAML_SUFFIXES = (".yaml", ".yml")
NAMES_FILES = ("classes.txt", "obj.names", "classes.names")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Description:
    """What a set says of itself.

    Attributes:
        labels: names of the classes, and what follows a box.
        origins: split as it is called there -> the file that tells its pictures.
        places: split -> folders of its pictures, or lists of their paths.
    """

    labels: LabelFormat
    origins: Mapping[str, Path] = field(default_factory=dict)
    places: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def tells_splits(self) -> bool:
        """Whether the splits are told, and not to be seen from folders."""
        return bool(self.origins)

    def pictures(self, raw: str, pictures: Sequence[Path]) -> list[Path]:
        """Returns those of a split, in order.

        Raises:
            UserError: a list names a picture that is not there, or there is none.
        """
        found: list[Path] = []
        for place in self.places[raw]:
            if place.suffix.lower() == ".txt":
                found += _listed(place, pictures)
            else:
                found += [file for file in pictures if place in file.parents]
        found = list(dict.fromkeys(found))
        if not found:
            places = ", ".join(map(str, self.places[raw]))
            raise UserError(f"{self.origins[raw]}: {raw}: no picture in {places}")
        return found


def find_description(listing: Listing) -> Description | None:
    """Returns what a folder says of its labels; None where it is not YOLO's.

    Raises:
        UserError: two descriptions, or one that cannot be used.
    """
    found = list(_yaml_files(listing))
    if len(found) > 1:
        files = " and ".join(str(file) for file, _ in found[:2])
        raise UserError(f"{files} both describe a set; move one of them")
    if found:
        return _from_yaml(*found[0], listing)
    return _from_names(listing)


def _from_names(listing: Listing) -> Description | None:
    files = [f for f in listing.files if f.name.lower() in NAMES_FILES]
    if not files:
        return None
    names = {_names_of_lines(file) for file in files}
    if len(names) > 1:
        raise UserError(
            f"{files[0]} and {files[1]} tell different names of classes; write one "
            "list into both"
        )
    lists = _lists(listing)
    places = {raw: (file,) for raw, file in lists.items()}
    return Description(LabelFormat(names.pop(), files[0]), lists, places)


def _yaml_files(listing: Listing) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields the YAML files that name classes and a split."""
    for file in listing.with_suffix(*YAML_SUFFIXES):
        try:
            if file.stat().st_size > _MOST_BYTES:
                continue
            content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            if file.stem.lower() in ("data", "dataset"):
                line = str(error).splitlines()[0]
                raise UserError(f"{file}: cannot be read: {line}") from error
            continue
        if _describes(content):
            yield file, content


def _describes(content: Any) -> bool:
    if not isinstance(content, dict) or "names" not in content:
        return False
    return any(exact_split(str(key)) and content[key] for key in content)


def _from_yaml(file: Path, content: dict[str, Any], listing: Listing) -> Description:
    names = _names_of_yaml(content["names"], file)
    count = content.get("nc", len(names))
    if count != len(names):
        raise UserError(
            f"{file}: nc is {count!r}, and there are {len(names)} names; mend one"
        )
    places = {
        str(key): tuple(_places(file, str(key), value, content.get("path"), listing))
        for key, value in content.items()
        if exact_split(str(key)) and value
    }
    places = {raw: found for raw, found in places.items() if found}
    labels = LabelFormat(names, file, "kpt_shape" in content)
    return Description(labels, dict.fromkeys(places, file), places)


def _names_of_yaml(value: Any, file: Path) -> tuple[str, ...]:
    if isinstance(value, dict):
        if sorted(value, key=str) != sorted(range(len(value)), key=str):
            raise UserError(f"{file}: names must be numbered from 0 without gaps")
        value = [value[place] for place in range(len(value))]
    if not isinstance(value, list) or not value:
        raise UserError(f"{file}: names is no list of names of classes; mend it")
    return _checked([str(name).strip() for name in value], file)


def _names_of_lines(file: Path) -> tuple[str, ...]:
    lines = read_lines(file)
    while lines and not lines[-1]:
        lines.pop()
    return _checked(lines, file)


def _checked(names: list[str], file: Path) -> tuple[str, ...]:
    for place, name in enumerate(names):
        if not name:
            raise UserError(f"{file}: class {place} has no name; add it")
        if names.index(name) != place:
            raise UserError(
                f"{file}: classes {names.index(name)} and {place} are both {name!r}; "
                "rename one"
            )
    if not names:
        raise UserError(f"{file}: has no names of classes; add them, one a line")
    return tuple(names)


def _places(
    file: Path, key: str, value: Any, base: Any, listing: Listing
) -> Iterator[Path]:
    """Yields folders and lists of a split, wherever the set was when it was written."""
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, str):
            raise UserError(f"{file}: {key}: {entry!r} is no path; mend it")
        found = _find_place(file, entry, base, listing)
        if found is not None:
            yield found
        elif exact_split(key) != "test":  # Often written, and not exported.
            raise UserError(
                f"{file}: {key}: there is no {entry} in {listing.root}; mend the path"
            )


def _find_place(file: Path, entry: str, base: Any, listing: Listing) -> Path | None:
    """Returns the folder or list that a path means.

    Relative to the file and its `path`; else its end, as long as possible, below the
    folder of the file: sets are moved, and Roboflow writes one `../` too many.
    """
    parts = [p for p in PureWindowsPath(entry).parts if p not in (".", "..")]
    known = {*listing.folders, *listing.with_suffix(".txt"), listing.root}
    above = [file.parent, *(f for f in file.parent.parents if f in known)]
    if isinstance(base, str):
        inner = [p for p in PureWindowsPath(base).parts if p not in (".", "..")]
        above = [top.joinpath(*inner) for top in above] + above
    for start in range(len(parts)):
        for top in above:
            path = top.joinpath(*parts[start:])
            if path in known:
                return path
    return None


def _lists(listing: Listing) -> dict[str, Path]:
    """Returns the lists of pictures that are called as splits, as Darknet has them."""
    found = {}
    for file in listing.with_suffix(".txt"):
        if exact_split(file.stem) and _is_list(file):
            found[file.stem] = file
    return found


def _is_list(file: Path) -> bool:
    try:
        with open(file, encoding="utf-8-sig") as lines:
            first = next((line.strip() for line in lines if line.strip()), "")
    except (OSError, UnicodeDecodeError):
        return False
    return first.lower().endswith(SUFFIXES)


def _listed(file: Path, pictures: Sequence[Path]) -> list[Path]:
    """Returns the pictures of a list, found by the end of their paths."""
    by_name: dict[str, list[Path]] = {}
    for picture in pictures:
        by_name.setdefault(picture.name, []).append(picture)
    found = []
    for number, line in enumerate(read_lines(file), start=1):
        if not line:
            continue
        parts = PureWindowsPath(line).parts
        fits = by_name.get(parts[-1], [])
        for length in range(2, len(parts) + 1):
            if len(fits) <= 1:
                break
            fits = [p for p in fits if p.parts[-length:] == parts[-length:]] or fits
        if len(fits) != 1:
            what = "several pictures fit" if fits else "there is no picture"
            raise UserError(f"{file}: line {number}: {what} {line}; mend it")
        found += fits
    return found
