"""Names -> objects: resolve, validate, dry-run and build what a suite names; plugins."""
