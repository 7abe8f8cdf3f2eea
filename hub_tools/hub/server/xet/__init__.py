"""The little of the Xet storage protocol that makes default clients' uploads arrive."""
