"""The directory over TLS, each side knowing the other by its certificate."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Entry, Put, Unchanged
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.runtime.etcd_members import EtcdTls
from evenshard.testing.etcd import EtcdProcess


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and one certificate it signed for 127.0.0.1, for both sides."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on PATH: certificates cannot be made, so TLS to etcd is not tested")
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca, ca_key, pair = str(folder / "ca.pem"), str(folder / "ca.key"), str(folder / "pair")
    openssl("req", "-x509", *key, "-subj", "/CN=test ca", "-days", "2", "-keyout", ca_key, "-out", ca)
    openssl("req", *key, "-subj", "/CN=etcd", "-keyout", pair + ".key", "-out", pair + ".csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    signing = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", str(folder / "names")]
    openssl("x509", "-req", "-in", pair + ".csr", *signing, "-out", pair + ".pem")
    return folder


@pytest.fixture
def tls_etcd(tmp_path: Path, certificates: Path) -> Iterator[EtcdProcess]:
    arguments = [
        "--client-cert-auth",
        f"--trusted-ca-file={certificates / 'ca.pem'}",
        f"--cert-file={certificates / 'pair.pem'}",
        f"--key-file={certificates / 'pair.key'}",
    ]
    process = EtcdProcess(tmp_path, arguments, scheme="https")
    process.start()
    yield process
    process.stop()


async def test_swaps_and_watches_over_tls(tls_etcd: EtcdProcess, certificates: Path) -> None:
    tls = EtcdTls(certificates / "ca.pem", certificates / "pair.pem", certificates / "pair.key")
    directory = EtcdDirectory([f"https://{tls_etcd.address}"], tls)
    result = await directory.swap([Unchanged("a", Revision(0))], [Put("a", b"1")])
    assert result.swapped
    entry = Entry("a", b"1", result.revision)
    assert await directory.get("a") == entry
    async for changes in directory.watch("a", Revision(1)):
        if changes.entries:
            assert list(changes.entries) == [entry]
            break
    await directory.close()


async def test_an_etcd_that_does_not_trust_us_or_whom_we_do_not_trust_is_unavailable(
    tls_etcd: EtcdProcess, certificates: Path
) -> None:
    for tls in (EtcdTls(certificates / "ca.pem"), EtcdTls(), None):
        directory = EtcdDirectory([tls_etcd.address], tls)
        with pytest.raises(EvenshardError) as raised:
            await directory.get("a", timeout_s=0.4)
        assert raised.value.code == "DIRECTORY_UNAVAILABLE"
        await directory.close()


async def test_a_certificate_file_that_is_absent_is_named(certificates: Path) -> None:
    with pytest.raises(EvenshardError) as raised:
        EtcdDirectory(["127.0.0.1:1"], EtcdTls(certificates / "absent.pem"))
    assert (raised.value.code, "absent.pem" in raised.value.message) == ("USAGE", True)
