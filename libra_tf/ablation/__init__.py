"""Ablations: rows of a table x seeds, each a training run, and what they show."""
