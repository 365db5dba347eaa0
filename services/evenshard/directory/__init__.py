"""What the directory holds and what follows from it: tenants, placements and epochs, keys. Decides, does no IO."""
