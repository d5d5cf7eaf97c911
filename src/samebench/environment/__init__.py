"""What is installed and set: locks, fingerprint, determinism, CPU cores, GPU."""
