"""The documentation for a terminal: written pages, and reference pages made from the code."""
