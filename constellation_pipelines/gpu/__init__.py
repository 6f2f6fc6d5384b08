"""Device inventory and telemetry, by NVML or simulated."""
