"""Files on disk: written whole or not at all, JSON, locks, the line of progress."""
