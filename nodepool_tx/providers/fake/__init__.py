"""The fake driver: the OpenStack driver against a cloud simulated in this process."""
