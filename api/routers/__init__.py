"""Routes, one noun per file. Handlers are plain functions: they run in the thread pool."""
