"""The servers of the tests keep what they acknowledged, and nothing of them stays behind."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.services import availability
from tests.services.availability import kafka_missing, mariadb_missing, require, toxiproxy_missing
from tests.services.kafka import KafkaBroker
from tests.services.mariadb import MariaDBServer
from tests.services.processes import Child, ServiceFailed, free_port, port_is_open, wait_until
from tests.services.toxiproxy import Toxiproxy
from tests.services.valkey import ValkeyServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """Yield a Valkey that the test may kill without hurting the session's."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def tcp_port() -> int:
    """Return a free port."""
    return free_port()


def sleeper(tmp_path: Path) -> Child:
    """Make a child that does nothing for a minute."""
    return Child([sys.executable, "-c", "import time; time.sleep(60)"], log_path=tmp_path / "sleeper.log")


def test_child_killed_reports_the_signal(tmp_path: Path) -> None:
    child = sleeper(tmp_path)
    child.start()
    assert child.alive
    child.kill()
    assert (child.alive, child.exit_code) == (False, -9)


def test_child_frozen_is_stopped_and_goes_on_when_thawed(tmp_path: Path) -> None:
    child = sleeper(tmp_path)
    child.start()
    try:
        process = psutil.Process(child.pid)
        child.freeze()
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, deadline_seconds=5, what="freeze")
        child.thaw()
        wait_until(lambda: process.status() != psutil.STATUS_STOPPED, deadline_seconds=5, what="thaw")
        child.freeze()
        child.stop()  # SIGTERM reaches a frozen process too
        assert child.exit_code == -15
    finally:
        if child.alive:
            child.kill()


def test_child_started_in_a_thread_outlives_the_thread(tmp_path: Path) -> None:
    child = sleeper(tmp_path)
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert child.alive
    child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_child_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from tests.services.processes import Child
        child = Child(["sleep", "60"], log_path=Path({str(tmp_path / "log")!r}))
        child.start()
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    pid = int(done.stdout)

    def gone() -> bool:  # an orphan may stay as a zombie where process 1 does not collect them
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    wait_until(gone, deadline_seconds=5, what="the child's end")


def test_child_that_ends_at_start_reports_its_log(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "raise SystemExit('no such disk')"], log_path=tmp_path / "log")
    child.start()
    with pytest.raises(ServiceFailed, match="no such disk"):
        wait_until(lambda: False, deadline_seconds=10, what="start", child=child)
    assert child.exit_code == 1


def test_valkey_killed_keeps_every_acknowledged_write(own_valkey: ValkeyServer) -> None:
    client = own_valkey.client()
    for number in range(200):
        client.incrby("units", 1)
        client.set(f"key:{number}", number)
    own_valkey.kill()
    own_valkey.start()
    client = own_valkey.client()
    assert client.get("units") == b"200"
    assert [client.get(f"key:{number}") for number in range(200)] == [b"%d" % number for number in range(200)]


def test_valkey_runs_with_the_settings_of_a_sale(own_valkey: ValkeyServer) -> None:
    wanted = {
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    assert own_valkey.client(decode_responses=True).config_get(*wanted) == wanted


def test_valkey_replica_receives_the_primarys_writes(tcp_port: int) -> None:
    with ValkeyServer(port=tcp_port) as primary, ValkeyServer(replica_of=tcp_port) as replica:
        primary.client().set("stock", 7)
        reader = replica.client()
        wait_until(lambda: reader.get("stock") == b"7", deadline_seconds=10, what="replication")
        assert reader.info("replication")["role"] == "slave"


def test_valkey_session_server_is_the_one_of_the_environment(valkey_server: ValkeyServer) -> None:
    assert os.environ["REDIS_URL"] == valkey_server.url
    assert len(str(valkey_server.socket_path)) <= 100
    valkey_server.client().set("leftover", 1)
    valkey_server.clear()
    assert valkey_server.client().dbsize() == 0


def test_server_leaves_no_directory_behind() -> None:
    with ValkeyServer() as server:
        assert server.directory.is_dir()
        pid = server.child.pid
    assert not server.directory.exists()
    assert not psutil.pid_exists(pid)


@pytest.mark.mariadb
def test_mariadb_killed_keeps_a_commit_and_drops_what_was_open(mariadb_server: MariaDBServer) -> None:
    mariadb_server.execute("CREATE TABLE kept (id INT PRIMARY KEY, word VARCHAR(20)) ENGINE=InnoDB")
    mariadb_server.execute("START TRANSACTION; INSERT INTO kept VALUES (1, '秒杀'); COMMIT")
    mariadb_server.execute("START TRANSACTION; INSERT INTO kept VALUES (2, 'never')")  # ends without a commit
    mariadb_server.kill()
    mariadb_server.start()
    assert mariadb_server.execute("SELECT id, word FROM kept") == "1\t秒杀\n"
    mariadb_server.execute("DROP TABLE kept")


@pytest.mark.mariadb
def test_mariadb_knows_the_display_time_zone(mariadb_server: MariaDBServer) -> None:
    converted = mariadb_server.execute("SELECT CONVERT_TZ('2026-01-01 20:00:00', 'UTC', 'Asia/Shanghai')")
    assert converted == "2026-01-02 04:00:00\n"


@pytest.mark.mariadb
def test_mariadb_url_is_reachable_over_tcp_as_utf8mb4(mariadb_server: MariaDBServer) -> None:
    import MySQLdb

    assert mariadb_server.url == f"mysql://root@127.0.0.1:{mariadb_server.port}/flash"
    connection = MySQLdb.connect(host="127.0.0.1", port=mariadb_server.port, user="root", database="flash")
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT @@character_set_database")
        assert cursor.fetchone() == ("utf8mb4",)
    finally:
        connection.close()


@pytest.mark.kafka
def test_kafka_killed_keeps_every_acknowledged_record(kafka_broker: KafkaBroker) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition

    kafka_broker.create_topic("kept", partitions=1)
    producer = KafkaProducer(bootstrap_servers=kafka_broker.bootstrap, acks="all", enable_idempotence=True)
    sent = [b"%d" % number for number in range(50)]
    for future in [producer.send("kept", value) for value in sent]:
        future.get(timeout=20)
    kafka_broker.kill()
    producer.close(timeout=0)
    kafka_broker.start()
    consumer = KafkaConsumer(bootstrap_servers=kafka_broker.bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition("kept", 0)])
    received: list[bytes] = []

    def all_here() -> bool:
        received.extend(
            record.value for records in consumer.poll(timeout_ms=200).values() for record in records
        )
        return len(received) >= len(sent)

    try:
        wait_until(all_here, deadline_seconds=30, what="reading the topic", child=kafka_broker.child)
    finally:
        consumer.close()
    assert received == sent


def test_toxiproxy_slows_cuts_and_heals(tcp_port: int) -> None:
    require(toxiproxy_missing(), always_in_ci=False)
    with ValkeyServer(port=tcp_port), Toxiproxy() as proxies:
        port = proxies.proxy("valkey", upstream_port=tcp_port)
        assert _ping_seconds(port) < 0.1
        proxies.slow("valkey", latency_ms=200)
        assert _ping_seconds(port) >= 0.2
        proxies.cut("valkey")
        assert not port_is_open(port)
        proxies.heal()
        assert _ping_seconds(port) < 0.1


def _ping_seconds(port: int) -> float:
    import redis

    with redis.Redis(port=port) as client:
        client.ping()  # connects
        started = time.monotonic()
        client.ping()
        return time.monotonic() - started


@pytest.mark.browser
def test_chromium_runs_script_and_has_chinese_glyphs(chromium: "Browser") -> None:
    page = chromium.new_page()
    page.set_content("<p>秒杀</p><script>document.title = 'ran'</script>")
    assert page.title() == "ran"
    # A font without the character draws the same box for every one of them.
    widths = page.evaluate(
        """() => { const c = document.createElement('canvas'), x = c.getContext('2d'); x.font = '40px sans-serif';
                   const ink = text => { x.clearRect(0, 0, 100, 100); x.fillText(text, 10, 60);
                                         return x.getImageData(0, 0, 100, 100).data.filter((v, i) => i % 4 == 3 && v).length };
                   return [ink('一'), ink('龘')] }"""
    )
    assert widths[0] < widths[1]
    page.close()


def test_require_skips_here_and_fails_where_services_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_SERVICES", "0")
    with pytest.raises(pytest.skip.Exception, match="no disk"):
        require("no disk")
    monkeypatch.setenv("REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="REQUIRE_SERVICES=1, but no disk"):
        require("no disk")
    with pytest.raises(pytest.skip.Exception, match="no disk"):
        require("no disk", always_in_ci=False)
    require(None)


def test_missing_services_are_named_with_the_way_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        availability, "mariadb_programs", lambda: {"mariadbd": None, "mariadb": "/usr/bin/mariadb"}
    )
    monkeypatch.setattr(availability, "java_version", lambda: 17)
    monkeypatch.setenv("KAFKA_JARS", str(tmp_path))
    assert mariadb_missing() == "no MariaDB server: mariadbd not found; .ci/install-services installs it"
    assert kafka_missing() == (
        "no Kafka jars in KAFKA_JARS or .cache/kafka/libs; .ci/install-services installs it"
    )
    monkeypatch.setattr(availability, "java_version", lambda: 11)
    assert kafka_missing() == "no Java 17 or later for Kafka; .ci/install-services installs it"
