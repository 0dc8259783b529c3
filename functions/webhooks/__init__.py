"""webhooks: tells endpoints of Domains what became of mails."""
