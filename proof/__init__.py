"""Instruments that look for what is wrong with the launcher: chaos, a model, a soak."""
