"""Prepared arrays, where they come from, augmentation, and the order of batches."""
