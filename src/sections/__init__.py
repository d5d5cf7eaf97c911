"""The second project: the archive section of a Debian package (admin, libs, …) from its synopsis, by its words."""
