"""All of Kannon on one machine: its parts, and the servers it embeds, under one supervisor."""
