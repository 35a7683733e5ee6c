"""Shows signatures as users need them: arguments with their class, and defaults as values."""

from importlib import import_module
from typing import Any

import griffe


class AsUsed(griffe.Extension):
    """Makes what griffe has read fit for users."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Drop the docstring of `__init__`, for that of the class describes its arguments.

        Args:
            cls: The class.
        """
        init = cls.members.get("__init__")
        if isinstance(init, griffe.Function):
            init.docstring = None

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Show the values of constants that are defaults.

        Args:
            func: The function.
        """
        for parameter in func.parameters:
            default = parameter.default
            if isinstance(default, griffe.ExprName) and default.name == "EMPTY":
                # FastStream's word for an argument that is not given.
                parameter.default = "..."
            elif isinstance(default, griffe.ExprName) and default.name.isupper():
                value = _value_of(default.canonical_path)
                if isinstance(value, str | int | float):
                    parameter.default = repr(value)


def _value_of(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None
