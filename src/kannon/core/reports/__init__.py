"""What came back: failure reports, complaints and automatic answers, read from bytes into values."""
