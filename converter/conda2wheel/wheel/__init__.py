"""What a wheel is made of: layout, metadata, requirements, tags, and the canonical archive."""
