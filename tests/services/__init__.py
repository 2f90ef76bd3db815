"""Real servers for the tests: Valkey, MariaDB, Kafka, toxiproxy and Chromium, each a child of the test run."""
