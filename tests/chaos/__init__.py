"""Kill tests: a process dies at a named point under load, and afterwards nothing may be lost, sold or given twice."""
