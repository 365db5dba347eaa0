"""What every process needs: the real ports, settings, the server's life cycle, telemetry, the principal of a call."""
