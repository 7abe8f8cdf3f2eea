"""Pages for people: what a browser shows at the addresses of this Hub. No scripts, nothing from elsewhere."""
