"""The client's bytes: requests that differ in key alone, answers in one piece, in pieces and in chunks."""

import pytest

from tests.load.wire import BadAnswer, Messages, Request, json_text, parse_answer

PLAIN = b'HTTP/1.1 409 Conflict\r\nContent-Length: 12\r\nX-A: B\r\n\r\n{"code":"x"}'
CHUNKED = b'HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2;x=1\r\n1}\r\n0\r\n\r\n'


def test_messages_are_whole_requests_with_a_key_of_their_own():
    messages = Messages(url="http://shop:81", path="/p/", tokens=["tA", "tB"], quantity=2, run_id="ff")
    assert messages.build(Request(5, 1, 0.0)) == (
        b"POST /p/ HTTP/1.1\r\nHost: shop:81\r\nContent-Type: application/json\r\nAccept-Language: en\r\n"
        b"Content-Length: 14\r\nAuthorization: Bearer tB\r\nIdempotency-Key: load-ff-5\r\n\r\n"
        b'{"quantity":2}'
    )


def test_a_plain_answer_is_read():
    answer = parse_answer(PLAIN)
    assert answer is not None
    status, head, body = answer
    assert (status, body) == (409, b'{"code":"x"}')
    assert head.endswith(b"x-a: b")


def test_a_chunked_answer_is_read():
    answer = parse_answer(CHUNKED)
    assert answer is not None
    status, _head, body = answer
    assert (status, body) == (202, b'{"a":1}')


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED])
def test_every_cut_answer_waits_for_the_rest(whole):
    assert [parse_answer(whole[:length]) for length in range(len(whole))] == [None] * len(whole)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        PLAIN + b"more",
    ],
)
def test_bytes_that_are_no_answer_are_refused(data):
    with pytest.raises(BadAnswer):
        parse_answer(data)


def test_json_text_finds_a_field_and_only_text():
    assert json_text(b'{"a":1,"code": "seckill.busy"}', b"code") == b"seckill.busy"
    assert json_text(b'{"code":null,"b":"x"}', b"code") == b""
    assert json_text(b"<html>", b"code") == b""
