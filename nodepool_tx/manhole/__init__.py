"""A console over SSH into the running launcher, for people who look after it."""
