"""Measures the three imbalances of the Libra paper in a trained detector."""

# Enough for shares that hold to a percent; a command's help shows it without
# TensorFlow.
IMAGES = 200
