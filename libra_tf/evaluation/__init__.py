"""Detection metrics: COCO AP and AR, per class, over all images that were asked for."""
