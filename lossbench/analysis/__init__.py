"""Numbers from results: statistics, comparisons, ranks, predictions; no text, no drawing."""
