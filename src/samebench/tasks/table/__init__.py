"""Projects whose examples are rows of a table: numbers and categories in, a number out."""
