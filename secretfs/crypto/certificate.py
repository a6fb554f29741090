"""The root that a swarm's clients are shown, and what a join token says of it. Rule: it vouches for nothing yet.

So its private key is thrown away: where there is one host, nobody has a certificate to be signed.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "swarm-ca")])  # as swarmkit's
_VALID: Final = timedelta(days=20 * 365)  # swarmkit ca/certificates.go: RootCAExpiration


@dataclass(frozen=True, slots=True)
class Issuer:
    """What Docker tells of a root, in base64 of DER."""

    subject: str
    public_key: str


def root_certificate(now: datetime) -> str:
    """A new self-signed root, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def issuer(root: str) -> Issuer:
    """Of a root that ``root_certificate`` made."""
    found = x509.load_pem_x509_certificate(root.encode())
    public_key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Issuer(base64.b64encode(found.subject.public_bytes()).decode(), base64.b64encode(public_key).decode())


def digest(root: str) -> int:
    """What a join token names the root by."""
    return int.from_bytes(hashlib.sha256(root.encode()).digest(), "big")
