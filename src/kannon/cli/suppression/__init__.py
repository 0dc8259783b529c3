"""`kannon suppression`: its commands, and the lists that they read and write."""
