"""A real Apache ZooKeeper as a child process, for those who bring none."""
