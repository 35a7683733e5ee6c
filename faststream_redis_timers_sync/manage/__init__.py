"""Looking after timers: finding topics, listing, choosing and changing timers, counting, checking.

What all front ends do alike stands here, once. It knows no framework and prints nothing: the
command line, Django and Flask build on it. All of it takes a `TimersClient`, and topics without
that client's prefix.
"""
