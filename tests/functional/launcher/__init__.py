"""What the tests of the running launcher stand on: the process, those who ask it, a look in."""
