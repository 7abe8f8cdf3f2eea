"""Endpoints that generate text: the client and the embedded server."""
