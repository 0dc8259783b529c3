"""Tells others what became of mails, one CloudEvent for each Outcome."""
