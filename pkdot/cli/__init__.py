"""The commands: argv -> config -> one call -> a table."""
