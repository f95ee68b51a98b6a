"""Data sets: their sources and formats, subsets and batches, decoding and augmentation."""
