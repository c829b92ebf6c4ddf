"""The experiment files that come with the package."""

from __future__ import annotations

import difflib
import importlib.resources
import os
from pathlib import Path

from libra_tf.errors import UserError
from libra_tf.experiments import NAMES

SUFFIX = ".yaml"
# Files in this folder of `configs` name experiments instead of being one.
PLANS = "plans"


def config_folder() -> Path:
    """Returns the folder of the shipped experiment files.

    In an installed wheel it is `libra_tf/configs`; in a checkout, and in an editable
    install of one, it is the folder `configs` beside the package.
    """
    package = Path(str(importlib.resources.files("libra_tf")))
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_files() -> dict[str, str]:
    """Returns the path of every shipped file by its name, sorted.

    The name is the path below `configs` without the ending, for example
    "quickstart/libra_fasterrcnn".
    """
    return {k: v for k, v in _files().items() if not k.startswith(f"{PLANS}/")}


def plan_files() -> dict[str, str]:
    """Returns the path of every shipped plan of an ablation by its name, sorted."""
    prefix = f"{PLANS}/"
    return {
        k.removeprefix(prefix): v for k, v in _files().items() if k.startswith(prefix)
    }


def _files() -> dict[str, str]:
    folder = config_folder()
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {
        name.removesuffix(SUFFIX): str(path)
        for name, path in zip(names, paths, strict=True)
    }


def find_config(name_or_path: str) -> str:
    """Returns the path of an experiment file.

    Args:
        name_or_path: a file, which goes first, or the name of a shipped one; the name
            may be written as its path in a checkout, "configs/quickstart/x.yaml".

    Raises:
        UserError: neither; tells the nearest names.
    """
    if os.path.isfile(name_or_path):
        return name_or_path
    if name_or_path in NAMES:
        raise UserError(
            f"{name_or_path} is an experiment: give it as --experiment {name_or_path}"
        )
    files = config_files()
    name = name_or_path.removeprefix("configs/").removesuffix(SUFFIX)
    if name in files:
        return files[name]
    near = _near(name, list(files))
    hint = f"near: {', '.join(near)}" if near else "see: libra config list"
    raise UserError(f"{name_or_path}: no such file, and none is shipped; {hint}")


def _near(name: str, names: list[str]) -> list[str]:
    """Names with the same last part first, then those spelt like `name`."""
    last = name.rpartition("/")[2]
    same = [known for known in names if known.rpartition("/")[2] == last]
    alike = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return list(dict.fromkeys(same + alike))[:3]


def read_head(path: str) -> str:
    """Returns the first comment line, which says what the file is; "" if there is none.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            first = next((line.strip() for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    return first.lstrip("# ") if first.startswith("#") else ""
