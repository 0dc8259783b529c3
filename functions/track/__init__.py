"""The function `track`: what readers open, follow and unsubscribe from, over public HTTP."""
