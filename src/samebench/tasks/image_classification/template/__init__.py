"""An image classifier: docs/project.md says what each module has."""
