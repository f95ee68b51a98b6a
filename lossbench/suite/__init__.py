"""The suite file: schema, YAML, overrides, grids and searches."""
