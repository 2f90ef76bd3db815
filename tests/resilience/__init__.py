"""Tests of shop.resilience: plain Python, real threads, processes and servers."""
