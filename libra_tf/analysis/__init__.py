"""What a detector's errors are, and what they say about the data."""
