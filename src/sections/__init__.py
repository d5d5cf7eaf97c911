"""The second project on the bench: the archive section of a Debian package (admin, libs, python, …) from its synopsis.

It is a text classifier, and small on purpose. It shows what a project of a family of its own writes, and what it does
not write.
"""
