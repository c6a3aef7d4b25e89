"""A certificate's way into its bundle: the same model, a manifest with the certificate, signed anew, swapped in whole."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from risk.bundle import MODEL, SIGNATURE, Bundle, write_bundle
from risk.errors import BundleError
from risk.promise.certificate import Certificate


def named(certificate: Certificate, day: str) -> Certificate:
    """The certificate under the name that its content gives it."""
    content = certificate.model_copy(update={"certificate_id": ""}).model_dump_json()
    return certificate.model_copy(update={"certificate_id": f"cert-{day}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"})


def signature_of(folder: Path) -> bytes:
    """What tells one state of a bundle from another; a BundleError where there is no bundle."""
    try:
        return (folder / SIGNATURE).read_bytes()
    except OSError as error:
        raise BundleError(f"no bundle at {folder.name}: {error.strerror}") from error


def put_in(folder: Path, certificate: Certificate, key: bytes, *, before: bytes) -> None:
    """Give the bundle in `folder` a certificate; its version stays, and whatever goes wrong, it stays as it was.

    `before` is the signature of the bundle that the certificate was made for: a BundleError where another one, or another
    certificate, has come meanwhile.
    """
    place = folder.resolve()
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        bundle = Bundle.load(place, key)
        manifest = {**bundle.manifest, "certificate": certificate.model_dump(mode="json")}
        write_bundle(scratch / "new", (place / MODEL).read_bytes().decode(), manifest, key)
        Bundle.load(scratch / "new", key)
        if signature_of(place) != before:
            raise BundleError("the bundle was changed while its evidence was tested: certify it again")
        (scratch / "new").chmod(0o755)
        place.rename(scratch / "old")
        try:
            (scratch / "new").rename(place)
        except BaseException:
            # Also where somebody interrupts: what is in the scratch folder is removed.
            (scratch / "old").rename(place)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
