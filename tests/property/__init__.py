"""Generated schedules over whole launchers."""
