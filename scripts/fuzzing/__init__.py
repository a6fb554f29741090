"""Targets of scripts/fuzz."""
