"""Looking at hosts from outside: their SSH host keys, their ports, their names."""
