"""What stands on a backbone: feature pyramid, segmenters, detectors."""
