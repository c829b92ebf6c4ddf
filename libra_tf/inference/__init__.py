"""Trained detectors at work: checkpoints and SavedModels on images."""
