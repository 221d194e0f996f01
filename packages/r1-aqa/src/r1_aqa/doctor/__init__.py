"""Look at the installation, the machine and what a user names: what is wrong, and what mends it."""
