"""Certificate and key that files are signed with: the user's own, or this computer's, made at first use."""

from __future__ import annotations

import datetime
import os
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openemo.errors import ConfigError
from openemo.files import read_bounded

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["SigningIdentity", "data_folder", "local_identity", "read_identity"]

_YEARS: Final = 10
_FILE: Final = "signing_identity.pem"
_MOST_BYTES: Final = 2**20
_NAME: Final = "openemo on this computer"


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """What signs.

    Attributes:
        algorithm: as C2PA names it, such as "es256".
        certificates: PEM, from the signer's own on.
        private_key: PEM, PKCS #8.
    """

    algorithm: str
    certificates: str
    private_key: str

    def __repr__(self) -> str:
        return f"SigningIdentity({self.algorithm!r})"  # without the key


def data_folder() -> Path:
    """Where the user's data of this program are, by the system's rules."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "openemo"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/openemo"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "openemo"


def local_identity() -> SigningIdentity:
    """This computer's own. At first use it is made; only this user may read it.

    Its name says nothing of the computer or its user. Nobody vouches for it: it tells that two files were
    signed by the same one, and that a file was not changed since.

    Raises:
        OSError: it can be neither read nor made.
    """
    path = data_folder() / _FILE
    with suppress(FileNotFoundError):
        return _from_pem(path.read_text("ascii"), path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{_FILE}.{secrets.token_hex(8)}")
    opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "w", encoding="ascii") as file:
            file.write(_make())
        # Of several processes the first one wins.
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return _from_pem(path.read_text("ascii"), path)


def read_identity(certificate: Path, private_key: Path) -> SigningIdentity:
    """The user's own, from two PEM files.

    Raises:
        ConfigError: they cannot be read, do not belong together, or are of a kind that C2PA does not know.
    """
    return _from_pem(
        _read(private_key, "private key") + "\n" + _read(certificate, "certificate"), certificate
    )


def _read(path: Path, what: str) -> str:
    try:
        return read_bounded(path, _MOST_BYTES).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the {what} {path} cannot be read", got=reason, expected="a PEM file") from error


def _from_pem(text: str, path: Path) -> SigningIdentity:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
        first, *others = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} or its private key cannot be used",
            got=str(error).splitlines()[0],
            expected="PEM files without a password",
        ) from error
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = serialization.Encoding.PEM
    if first.public_key().public_bytes(pem, public) != key.public_key().public_bytes(pem, public):
        raise ConfigError(
            "the certificate belongs to another key",
            got=path,
            expected="the signer's own certificate first, then those above it",
        )
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = "".join(one.public_bytes(pem).decode() for one in (first, *others))
    return SigningIdentity(_algorithm(key), chain, written.decode())


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey):
        known = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
        if key.curve.name in known:
            return known[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise ConfigError(
        "Content Credentials cannot be signed with this kind of key",
        got=type(key).__name__,
        expected="ECDSA on P-256, P-384 or P-521, RSA, or Ed25519",
    )


def _make() -> str:
    """A key and two certificates, PEM. C2PA takes no certificate that signs itself, so a second key signs it,
    which is then thrown away: no further certificate can be made with it.
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    above, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _subject(f"Issuer of {_NAME}")
    pem = serialization.Encoding.PEM
    certificates = [
        _certificate(_subject(_NAME), issuer, key.public_key(), above, is_issuer=False),
        _certificate(issuer, issuer, above.public_key(), above, is_issuer=True),
    ]
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = b"".join(one.sign(above, hashes.SHA256()).public_bytes(pem) for one in certificates)
    return (written + chain).decode()


def _subject(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "openemo"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    above: ec.EllipticCurvePrivateKey,
    *,
    is_issuer: bool,
) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=not is_issuer,
        key_cert_sign=is_issuer,
        crl_sign=is_issuer,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(
            x509.BasicConstraints(ca=is_issuer, path_length=0 if is_issuer else None), critical=True
        )
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(identifier, critical=False)
    )
    if is_issuer:
        return builder
    return builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
    )
