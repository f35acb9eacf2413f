"""Scripts that teach shells the words of the command line."""
