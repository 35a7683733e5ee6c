"""What Django looks for in the package of a database."""

from sqlite3 import ProgrammingError

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Asks the connection, as the databases on servers do; SQLite's own is always usable."""

    def is_usable(self):
        try:
            self.connection.execute("SELECT 1")
        except ProgrammingError:
            return False
        return True
