"""Experiment files and `params.yaml` of a run, checked and resumed from."""

import argparse
import copy
import re
from pathlib import Path

import yaml

from fuzzing.mutate import change_bytes, change_tree

EXPERIMENT = "libra_fasterrcnn_resnetfpn_coco"
SECTIONS = ("model", "losses", "train_data", "validation_data")
_NINE = [f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
# Values of a line that take all memory once they are written out.
_FIRST = "&a0 [x, x, x, x, x, x, x, x, x]"
BOMBS = [f"[{', '.join([_FIRST, *_NINE])}]", "&a [*a]", "&a {b: *a}"]


def _task(**fields):
    return lambda content: content["task"].update(fields)


def _text(text):
    return lambda content: text.encode()


FOUND = {
    "a setting with a line break": _task(**{"a\nb": 1}),
    "no such experiment": lambda content: content.update(experiment="-inf"),
    "a long experiment": lambda content: content.update(experiment="x" * 5000),
    "a data set that turns the line": _task(dataset="\u202ea"),
    "a data set of a long name": _task(dataset="x" * 5000),
    "an experiment that fills the memory": _text(f"experiment: {BOMBS[0]}\n"),
    "a section that holds itself": _text(
        f"experiment: {EXPERIMENT}\ntask: {{class_names: {BOMBS[2]}}}\n"
    ),
    "classes that fill the memory": _text(
        f"experiment: {EXPERIMENT}\ntask: {{class_names: {BOMBS[0]}}}\n"
    ),
}


class YamlFile:
    """A kind of input that is a YAML file, `file`."""

    def save(self, content):
        data = content if isinstance(content, bytes) else written(content)
        self.file.write_bytes(data)


class Settings(YamlFile):
    """The folder of a run."""

    lists_faults = False
    kept = ()

    def __init__(self, folder):
        from libra_tf.experiments.saved import get_experiment

        self.folder = Path(folder)
        self.file = self.folder / "params.yaml"
        self.params = get_experiment(EXPERIMENT)
        self.params.task.dataset = ""
        self.params.task.model.num_classes = 3
        self.settings = copy.deepcopy(self.params.as_dict())
        self.is_whole = False  # whether a run could be resumed with it

    def fresh(self):
        task = {"model": {"num_classes": 3}, "dataset": "", "train_split": "train"}
        return {"experiment": EXPERIMENT, "task": task}

    def generate(self, rng):
        content = self.fresh()
        for name in rng.sample(SECTIONS, rng.choice([0, 1])):
            section = self.settings["task"][name]
            few = rng.sample(sorted(section), min(3, len(section)))
            chosen = {key: copy.deepcopy(section[key]) for key in few}
            content["task"].setdefault(name, {}).update(chosen)
        if rng.random() < 0.3:
            content["trainer"] = copy.deepcopy(self.settings["trainer"])
        self.is_whole = rng.random() < 0.1
        if self.is_whole:
            content = copy.deepcopy(self.settings)
        return changed(rng, content)

    def uses(self):
        from libra_tf.commands import config
        from libra_tf.experiments.saved import PARAMS_FILE, load_run
        from libra_tf.training.resume import Start, check_settings

        yield lambda: load_run(str(self.folder))
        args = argparse.Namespace(action="check", files=[str(self.file)], data=None)
        yield lambda: config.run(args)
        if self.is_whole:
            start = Start(str(self.folder), "ckpt-1", 1)
            yield lambda: check_settings(self.params, start, PARAMS_FILE)


def changed(rng, content):
    """Returns YAML of what some content is turned into."""
    data = with_bomb(rng, written(change_tree(rng, content)))
    return change_bytes(rng, data) if rng.random() < 0.2 else data


def with_bomb(rng, data):
    """Puts a bomb in the place of a value, now and then."""
    places = [found.end() for found in re.finditer(rb"\w: ", data)]
    if rng.random() > 0.05 or not places:
        return data
    start = rng.choice(places)
    bomb = rng.choice(BOMBS).encode()
    end = data.index(b"\n", start)
    return data[:start] + bomb + data[end:]


def written(content):
    """Returns YAML."""
    text = yaml.safe_dump(content, default_flow_style=None)
    return text.encode("utf-8", "surrogatepass")
