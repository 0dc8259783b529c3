"""`kannon events`: CloudEvents into Kannon, and out of it."""
