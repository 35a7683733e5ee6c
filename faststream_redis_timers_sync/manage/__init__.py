"""Looking after timers: finding topics, listing, matching, cancelling, moving, counting, checking.

It knows no framework and prints nothing: the command line, Django and Flask build on it.
All of it takes a `TimersClient`, and topics without that client's prefix.
"""
