"""One Apache Kafka broker in KRaft mode, started from a folder of jars."""

import base64
import os
import re
import subprocess
import uuid
from functools import cache
from pathlib import Path
from typing import Self

from tests.services.processes import (
    Child,
    Server,
    ServiceFailed,
    find_program,
    free_port,
    port_is_open,
    short_directory,
    wait_until,
)

OLDEST_JAVA = 17
START_SECONDS = 60
JAVA_WORDS = (
    "-Xms64m",
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.threads=1
num.network.threads=2
num.io.threads=2
# With the default of 9 s a broker that was killed stays fenced, its port shut, for about 13 s after its restart.
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
"""


def kafka_jars() -> Path:
    """Return the folder of the broker's jars: KAFKA_JARS, or where .ci/install-services puts them."""
    given = os.environ.get("KAFKA_JARS")
    return Path(given) if given else Path(__file__).parents[2] / ".cache" / "kafka" / "libs"


@cache
def java_version() -> int:
    """Return the major version of the java on PATH, 0 without one."""
    java = find_program("java")
    if java is None:
        return 0
    answer = subprocess.run(
        [java, "-version"], capture_output=True, text=True, timeout=30, check=False
    ).stderr
    found = re.search(r'version "(\d+)', answer)
    return int(found.group(1)) if found else 0


class KafkaBroker(Server):
    """One broker that is its own controller; topics are made explicitly.

    advertised_port: the port that clients are told, for a broker behind a proxy.
    """

    def __init__(self, *, directory: Path | None = None, advertised_port: int | None = None) -> None:
        self.directory = directory or short_directory("kafka-")
        self.port = free_port()
        self.properties_path = self.directory / "server.properties"
        self.data = self.directory / "data"
        self.properties_path.write_text(
            PROPERTIES.format(
                port=self.port,
                advertised_port=advertised_port or self.port,
                controller_port=free_port(),
                data=self.data,
            )
        )
        self._environment = {"CLASSPATH": f"{kafka_jars()}/*"}
        self.child = Child(
            [*_java(), "kafka.Kafka", str(self.properties_path)],
            log_path=self.directory / "kafka.log",
            environment=self._environment,
        )

    @property
    def bootstrap(self) -> str:
        """The value for KAFKA_BOOTSTRAP_SERVERS."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, formatting its data the first time, and wait for its port."""
        if not self.data.exists():
            self._format()
        self.child.start()
        # The port first: a client made before it is open backs off for up to ten seconds.
        wait_until(
            lambda: port_is_open(self.port),
            deadline_seconds=START_SECONDS,
            what="Kafka start",
            child=self.child,
        )

    def create_topic(self, name: str, *, partitions: int = 1) -> None:
        """Create a topic and wait until the broker has it."""
        from kafka.admin import KafkaAdminClient, NewTopic

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.create_topics([NewTopic(name=name, num_partitions=partitions, replication_factor=1)])
            wait_until(lambda: name in admin.list_topics(), deadline_seconds=10, what=f"topic {name}")
        finally:
            admin.close()

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [
            *_java(),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster_id}",  # one word: an id may begin with a dash
            f"--config={self.properties_path}",
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **self._environment},
        )
        if done.returncode != 0:
            raise ServiceFailed(f"Kafka format failed: {done.stdout}{done.stderr}")

    def __enter__(self) -> Self:
        super().__enter__()
        return self


def _java() -> list[str]:
    java = find_program("java")
    if java is None:
        raise ServiceFailed("java is not installed")
    return [java, *JAVA_WORDS]
