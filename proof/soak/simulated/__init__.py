"""Six hours in memory, on a clock that passes as fast as the program gets on."""
