"""PostgreSQL: one noun per file, SQL named."""
