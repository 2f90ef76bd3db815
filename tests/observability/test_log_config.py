import logging
import logging.config
import os
import re

import pytest

from shop.observability.logging_config import logging_config
from shop.observability.logs import BufferedFileHandler, flush_all
from shop.observability.logs.request_id import request_id_reset, request_id_set

FILES = ["error.log", "login.log", "register.log", "seckill.log"]
TOUCHED = ["", "shop.accounts.login", "shop.accounts.register", "seckill", "orders", "django"]


@pytest.fixture
def restored_logging():
    """Put the loggers back as they were, so that other tests keep their own handlers."""
    factory = logging.getLogRecordFactory()
    loggers = [logging.getLogger(name) for name in TOUCHED]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        for handler in logger.handlers:
            if isinstance(handler, BufferedFileHandler):
                handler.close()
        logger.handlers[:] = handlers
        logger.level, logger.propagate = level, propagate
        logger.manager._clear_cache()
    logging.setLogRecordFactory(factory)


def messages(path):
    return [line.split(" ", 5)[5] for line in path.read_text().splitlines()] if path.exists() else []


def test_each_logger_writes_to_its_file_and_errors_to_the_error_log_too(tmp_path, restored_logging):
    folder = tmp_path / "made" / "logs"
    logging.config.dictConfig(logging_config(folder, "INFO", debug=False))
    token = request_id_set("req-1")
    logging.getLogger("shop.accounts.login").info("signed in")
    logging.getLogger("shop.accounts.register").info("registered")
    logging.getLogger("seckill.lane").info("reserved")
    logging.getLogger("orders.services").error("order failed")
    logging.getLogger("shop.catalog").error("page failed")
    logging.getLogger("shop.catalog").warning("only on a console")
    logging.getLogger("seckill").debug("below the level")
    request_id_reset(token)
    assert flush_all() is True
    assert messages(folder / "login.log") == ["signed in"]
    assert messages(folder / "register.log") == ["registered"]
    assert messages(folder / "seckill.log") == ["reserved", "order failed"]
    assert messages(folder / "error.log") == ["order failed", "page failed"]
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z INFO {os.getpid()} shop\.accounts\.login req-1 signed in\n",
        (folder / "login.log").read_text(),
    )


def test_console_is_for_development_and_cannot_be_forged_either(tmp_path, restored_logging, capsys):
    logging.config.dictConfig(logging_config(tmp_path, "INFO", debug=True))
    logging.getLogger("shop.catalog").warning("a\n%s", "b\x1b")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.endswith(" WARNING " + f"{os.getpid()} shop.catalog - a\\nb\\x1b\n")


def test_console_is_absent_in_production(tmp_path):
    config = logging_config(tmp_path, "WARNING", debug=False)
    assert sorted(config["handlers"]) == ["error", "login", "register", "seckill"]
    assert config["root"] == {"handlers": ["error"], "level": "WARNING"}


def test_django_logger_keeps_no_console_of_its_own(tmp_path, restored_logging):
    logging.getLogger("django").addHandler(logging.StreamHandler())
    logging.config.dictConfig(logging_config(tmp_path, "INFO", debug=False))
    assert logging.getLogger("django").handlers == []
    logging.getLogger("django.request").error("500")
    assert flush_all() is True
    assert messages(tmp_path / "error.log") == ["500"]
