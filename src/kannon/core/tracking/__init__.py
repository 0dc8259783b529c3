"""Opens and clicks: what may be known of a reader, and the tokens that say so."""
