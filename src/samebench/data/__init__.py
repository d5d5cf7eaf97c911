"""Data sets: their listings in git, their versions in DVC, downloads, and what two versions have not in common."""
