"""The output of commands that inspect and change timers: tables, JSON, messages, exit codes.

It uses neither click nor argparse: the command line, Flask's and Django's commands wrap `actions`.
rich is loaded only to print on a terminal; without it, output is plain there too.
"""
