"""Plans of an ablation, as `libra ablate --dry-run` reads them."""

import argparse
from pathlib import Path

from fuzzing.coco import Coco
from fuzzing.settings import EXPERIMENT, YamlFile, changed


def _row(**fields):
    return lambda content: content["rows"][1].update(fields)


FOUND = {
    "no groups": lambda content: {"groups": []},
    "a setting with a mark": _row(set={"trainer.train_\ufeffsteps": 1}),
    "a long setting": _row(set={f"trainer.{'x' * 999}": 1}),
    "a row of long keys": lambda content: content["rows"].append({"x" * 3000: {}}),
}


class Plans(YamlFile):
    """Two rows over one small experiment file, and a converted folder."""

    lists_faults = False

    def __init__(self, folder):
        source = Coco(Path(folder) / "source")
        source.save(source.fresh())
        source._convert("train", source.before)
        self.data, self.out = source.before, Path(folder) / "out"
        self.config = Path(folder) / "small.yaml"
        self.config.write_text(f"experiment: {EXPERIMENT}\n")
        self.file = Path(folder) / "plan.yaml"
        self.kept = [self.out]

    def fresh(self):
        base = {"name": "base", "baseline": True, "config": str(self.config)}
        other = {"name": "l1", "config": [str(self.config)], "note": "none"}
        base["published"] = {"AP": 35.9}
        other |= {"set": {"task.losses.box.beta": 1.0}, "published": {"AP": 36.0}}
        other |= {"two_core": {"trainer": {"train_steps": 9}}, "baseline": "base"}
        return {"title": "Losses", "paper": "none", "rows": [base, other]}

    def generate(self, rng):
        content = self.fresh()
        if rng.random() < 0.3:
            group = {"title": "One", "rows": content.pop("rows")}
            content["groups"] = [group]
        return changed(rng, content)

    def uses(self):
        from libra_tf.commands import ablate

        parser = argparse.ArgumentParser()
        ablate.add_arguments(parser)
        words = ["--data", str(self.data), "--out", str(self.out), "--dry-run"]
        words += ["--scale", "two_core", str(self.file)]
        yield lambda: ablate.run(parser.parse_args(words))
