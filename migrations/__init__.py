"""Alembic migrations of the schema `constellation`."""
