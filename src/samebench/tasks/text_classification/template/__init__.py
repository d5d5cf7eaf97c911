"""A text classifier: docs/project.md says what each module has."""
