"""Managing timers: find topics; list, select, change and count timers; check servers.

The logic that all front ends share. It uses no framework and prints nothing: the command line, the
web pages, Django and Flask build on it. All of it takes a `TimersClient`, and topics without that
client's prefix.
"""
