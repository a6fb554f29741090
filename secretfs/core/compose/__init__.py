"""Compose files: load, interpolate, read, merge, build. Rule: pure; files and environment are handed in."""
