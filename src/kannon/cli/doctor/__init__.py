"""`kannon doctor`."""
