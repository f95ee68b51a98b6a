"""From the names in a suite to objects: components, checks, dry run, construction, plugins."""
