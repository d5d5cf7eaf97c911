"""The runs in runs/: the receipt of each, and the commands that list, choose, annotate, delete and plan them."""
