"""What is live: events, log lines and samples, from NATS to every reader."""
