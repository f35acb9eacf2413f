"""What a reload of a configuration would do, before anybody does it.

Nothing here changes anything.  The providers are compared by the function that
the reload compares them with, and what becomes of each static node is asked of
the function that plans it in the launcher.
"""
