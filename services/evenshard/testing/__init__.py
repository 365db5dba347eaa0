"""In-memory ports, generators, the reference model, fault tools: for tests, shipped with the package."""
