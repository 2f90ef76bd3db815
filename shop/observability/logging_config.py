"""The value of Django's LOGGING: which logger writes to which file."""

from pathlib import Path
from typing import Any

_FILE_HANDLER = "shop.observability.logs.BufferedFileHandler"
_LINE_FORMATTER = "shop.observability.logs.formatting.LineFormatter"

# One file for each of these loggers; what they say at ERROR reaches error.log as well.
_FILE_OF_LOGGER = {
    "shop.accounts.login": "login",
    "shop.accounts.register": "register",
    "seckill": "seckill",
    "orders": "seckill",
}


def logging_config(log_folder: Path, level: str, debug: bool) -> dict[str, Any]:
    """Return the LOGGING dictionary.

    log_folder: holds login.log, register.log, seckill.log and error.log; made when it is missing.
    level: the least level of the project's and all other loggers. debug: to the console too.
    """
    handlers: dict[str, Any] = {
        name: {"()": _FILE_HANDLER, "path": str(log_folder / f"{name}.log"), "lean_records": True}
        for name in sorted(set(_FILE_OF_LOGGER.values()))
    }
    handlers["error"] = {"()": _FILE_HANDLER, "path": str(log_folder / "error.log"), "level": "ERROR"}
    root_handlers = ["error"]
    if debug:
        handlers["console"] = {"class": "logging.StreamHandler", "formatter": "line"}
        root_handlers.append("console")
    loggers: dict[str, Any] = {
        logger: {"handlers": [name], "level": level} for logger, name in _FILE_OF_LOGGER.items()
    }
    # Django's own default gives this logger a second console, and mails errors to ADMINS.
    loggers["django"] = {"handlers": [], "level": level, "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": _LINE_FORMATTER}},
        "handlers": handlers,
        "root": {"handlers": root_handlers, "level": level},
        "loggers": loggers,
    }
