"""Accounts for apps: register, tokens, who am I."""
