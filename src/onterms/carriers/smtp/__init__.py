"""Mail through a real server: submission by SMTP with TLS, AUTH and DKIM signatures."""

from onterms.carriers.smtp.mail import Security, SmtpMail, SmtpSettings

__all__ = ["Security", "SmtpMail", "SmtpSettings"]
