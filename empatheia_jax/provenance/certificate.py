"""The certificate that signs the manifests: made on this machine at first use, and therefore trusted by nobody else.

An institution puts its own `certificate.pem` (the chain, leaf first) and `key.pem` (ES256, PKCS 8) into a folder and names it in
`EMPATHEIA_CERTIFICATE`.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from empatheia_jax.errors import UserError
from empatheia_jax.files import write_bytes
from empatheia_jax.weights.sums import cache_folder

VARIABLE = "EMPATHEIA_CERTIFICATE"
CHAIN, KEY = "certificate.pem", "key.pem"
NAME = "empatheia-jax, made on this machine"
YEARS = 10


def folder() -> Path:
    """Where certificate and key lie: `$EMPATHEIA_CERTIFICATE`, else a folder of this user's."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else cache_folder() / "certificate"


def chain_and_key() -> tuple[bytes, bytes]:
    """Both files; without `EMPATHEIA_CERTIFICATE` they are made at first use.

    Raises:
        UserError: the named folder does not hold both.
    """
    place = folder()
    chain, key = place / CHAIN, place / KEY
    if not (chain.is_file() and key.is_file()):
        if os.environ.get(VARIABLE):
            raise UserError(f"{place} does not hold {CHAIN} and {KEY}; put both there, or unset {VARIABLE}")
        _make(chain, key)
    return chain.read_bytes(), key.read_bytes()


def _make(chain: Path, key: Path) -> None:
    """A root of our own and a leaf below it: C2PA refuses a leaf that signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "empatheia-jax")
        return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def usage(*, signs: bool) -> x509.KeyUsage:
        others = (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        )
        return x509.KeyUsage(
            digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **dict.fromkeys(others, False)
        )

    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def built(subject: str, public, *, root: bool) -> x509.Certificate:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(f"{NAME} (root)"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
            .add_extension(x509.BasicConstraints(ca=root, path_length=0 if root else None), critical=True)
            .add_extension(usage(signs=root), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(authority, critical=False)
        )
        if not root:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(root_key, hashes.SHA256())

    root = built(f"{NAME} (root)", root_key.public_key(), root=True)
    leaf = built(NAME, leaf_key.public_key(), root=False)
    pem = serialization.Encoding.PEM
    secret = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.parent.mkdir(parents=True, exist_ok=True)
    key.parent.chmod(0o700)
    write_bytes(key, secret)
    key.chmod(0o600)
    write_bytes(chain, leaf.public_bytes(pem) + root.public_bytes(pem))
