"""`kannon send`: one message to a few Recipients, or to a list of any length."""
