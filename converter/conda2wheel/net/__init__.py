"""URLs, credentials, downloads, cache, and redaction."""
