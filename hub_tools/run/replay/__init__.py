"""Running a published node again from its own provenance, and comparing what it makes."""
