"""The error of modules whose extra is not installed."""


def missing_extra(module: str, error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """Make the error of a module that needs an extra.

    Args:
        module: The module's name.
        error: The error of its import of a library.
        extra: The extra that installs the library.

    Returns:
        An error that says how to install it.
    """
    msg = (
        f"{module} needs {error.name}, which is not installed: "
        f"pip install 'faststream-redis-timers[{extra}]'"
    )
    return ModuleNotFoundError(msg, name=error.name)
