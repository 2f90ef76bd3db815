"""The parts of the process supervisor: what runs, how it is started, when it is ready, what is left after a crash."""
