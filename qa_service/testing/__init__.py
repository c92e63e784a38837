"""Parts for tests, shipped to users: in-memory twins of the real ones, with the same behaviour."""
