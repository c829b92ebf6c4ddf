"""Runs experiments: devices, progress, checkpoints, evaluation of checkpoints."""
