"""Results as files: archives of a suite's trainings, readable without a database."""
