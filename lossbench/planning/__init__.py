"""Plan of a suite: rows, trials, their identities, selection, fairness audit, costs; no torch."""
