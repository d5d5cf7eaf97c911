"""The test and the notebook of a new project."""
