"""What queries decide: their model, filters, plans, scans over columns, partials and their merge. Does no IO."""
