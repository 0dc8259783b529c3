"""`kannon demo`: a thousand mails through everything, on this machine."""
