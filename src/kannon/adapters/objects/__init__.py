"""The attachment store: in files, or in S3."""
