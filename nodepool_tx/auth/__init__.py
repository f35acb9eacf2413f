"""Who somebody is: log-ins, and what keeps them from being guessed."""
