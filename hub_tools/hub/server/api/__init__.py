"""The routes of the embedded Hub, one module a topic."""
