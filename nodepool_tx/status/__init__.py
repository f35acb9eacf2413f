"""How everything is doing, as plain data for people: dicts, lists, texts and numbers.

Used by the web, the console and whoever else shows the process from outside.
Times are seconds since the epoch; what is not known is None.
"""
