"""Numbers from results: statistics, comparisons, ranks, predictions; no drawing."""
