"""The project, and the one app that it consists of."""
