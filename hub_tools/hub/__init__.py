"""The Hub: the repository client, provenance statements and the embedded server."""
