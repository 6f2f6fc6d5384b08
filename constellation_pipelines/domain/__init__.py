"""Frozen records, enums and errors. This room knows nobody."""
