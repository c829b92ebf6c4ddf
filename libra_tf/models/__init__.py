"""Assembles detectors: takes the model that Model Garden builds and swaps parts."""
