"""Arguments that had another name in version 0.5."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from warnings import warn

_P = ParamSpec("_P")
_R = TypeVar("_R")


def renamed_arguments(**new_names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator that also accepts arguments under their old names, with a warning.

    Args:
        **new_names: Old name -> new name.
    """

    def decorate(call: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(call)
        def with_old_names(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for old in kwargs.keys() & new_names.keys():
                new = new_names[old]
                warn(
                    f"argument {old} is deprecated, use {new}",
                    DeprecationWarning,
                    stacklevel=2,
                )
                kwargs[new] = kwargs.pop(old)
            return call(*args, **kwargs)

        return with_old_names

    return decorate
