"""What the user wrote: the schema of a suite file, YAML, overrides, grids and searches."""
