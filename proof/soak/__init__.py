"""Whether a launcher that runs for long needs ever more of anything."""
