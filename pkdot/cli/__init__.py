"""The commands: each turns its arguments into a config, makes one call, and prints a table."""
