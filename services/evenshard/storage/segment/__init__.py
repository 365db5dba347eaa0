"""An indexed file of events: its format, writing, reading, and finding identities in it."""
