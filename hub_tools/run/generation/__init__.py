"""Asking endpoints about rows: who is asked, how, and what became of it."""
