import logging

import pytest

from shop.observability.logs.records import LeanLogRecord, install_lean_records

ARGUMENTS = ("shop.a", logging.INFO, "/srv/shop/views.v2.py", 7, "%s %s", (1, "b"), None, "view", "stack")
OWN_TO_EACH = {"created", "msecs", "relativeCreated"}


@pytest.fixture
def stock_factory():
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize("args", [(1, "b"), (), ({"a": 1},), ({},), ([1],), (0,)])
def test_lean_record_equals_the_library_record(args):
    arguments = (*ARGUMENTS[:5], args, *ARGUMENTS[6:])
    lean, stock = vars(LeanLogRecord(*arguments)), vars(logging.LogRecord(*arguments))
    assert lean.keys() == stock.keys()
    assert {k: v for k, v in lean.items() if k not in OWN_TO_EACH} == {
        k: v for k, v in stock.items() if k not in OWN_TO_EACH
    }
    assert abs(lean["created"] - stock["created"]) < 1
    assert abs(lean["relativeCreated"] - stock["relativeCreated"]) < 1_000
    assert lean["msecs"] == int((lean["created"] - int(lean["created"])) * 1000)


def test_install_lean_records_changes_what_loggers_make(stock_factory):
    assert install_lean_records() is True
    assert install_lean_records() is True
    record = logging.getLogger("shop.a").makeRecord("shop.a", 20, "/x.py", 1, "m", (), None, extra={"k": 1})
    assert (type(record), record.k) == (LeanLogRecord, 1)


def test_install_lean_records_leaves_another_factory_alone(stock_factory):
    class OtherRecord(logging.LogRecord):
        pass

    logging.setLogRecordFactory(OtherRecord)
    assert install_lean_records() is False
    assert logging.getLogRecordFactory() is OtherRecord


def test_install_lean_records_refuses_where_the_library_record_has_more(stock_factory, monkeypatch):
    class RicherRecord(logging.LogRecord):
        def __init__(self, *args):
            super().__init__(*args)
            self.taskName = None

    monkeypatch.setattr(logging, "LogRecord", RicherRecord)
    logging.setLogRecordFactory(RicherRecord)
    assert install_lean_records() is False
    assert logging.getLogRecordFactory() is RicherRecord
