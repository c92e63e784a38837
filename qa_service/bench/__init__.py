"""The project's benchmarks: what ``qa-service bench`` measures, and the JSON that comes of it."""
