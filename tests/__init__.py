"""The tests; folders mirror the source, and tests.services starts the real servers that they use."""
