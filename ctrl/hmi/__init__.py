"""The page operators see, and the read-only server behind it. Needs the extra `hmi`."""
