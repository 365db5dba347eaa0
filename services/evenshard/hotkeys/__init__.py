"""The counting of keys and what follows from it: thresholds, marks, the view. Decides, does no IO."""
