"""From outputs and labels to losses: every seam of the loss, for both detectors.

`rcnn` and `dense` hold the whole criterion of a detector; the other files are its
terms.
"""
