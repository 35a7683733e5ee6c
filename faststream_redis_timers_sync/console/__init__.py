"""What people see who look after timers from a terminal: tables, JSON, sentences, exit codes.

It knows neither click nor argparse; the command line, Flask's and Django's commands are rooms
around `actions`. rich is loaded only to print on a terminal, and where it is missing that is
plain too.
"""
