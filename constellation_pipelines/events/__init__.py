"""Subjects, envelopes and the NATS bus."""
