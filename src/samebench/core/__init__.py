"""What every other part of the bench uses: exit codes, atomic files, locks, flags, tables."""
