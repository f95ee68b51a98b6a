"""Suite and results so far -> trials: identities, selection, fairness, costs; no torch."""
