"""Model packages and the engine: reader, batches, writer."""
