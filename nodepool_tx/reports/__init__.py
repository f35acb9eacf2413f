"""The lists that people and programs are shown, on the command line and over HTTP."""
