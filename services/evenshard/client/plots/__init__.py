"""Charts of answers with matplotlib: the same answer, the same chart. Imported when one is drawn."""
