"""What can be wrong with certificates. Imports nothing, so that whoever has none loads nothing."""


class CertificatesRefused(Exception):
    """Files of certificates cannot be used; the message names setting, file and reason."""
