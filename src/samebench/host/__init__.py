"""The host's side: what runs before there is an environment, on Python 3.9 or newer without packages."""
