"""Kafka in: how records of live calls are read, and how clients of the broker are made."""
