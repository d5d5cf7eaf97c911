"""A regression on a table: docs/project.md says what each module has."""
