"""The protocol that both front ends share: keys, bytes, scripts and their replies.

Nothing in here does I/O: no redis, no asyncio, no sockets, no clock.
"""
