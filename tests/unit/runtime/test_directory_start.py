"""Which etcd a service starts on, and what is said of one it does not."""

from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.runtime.directory_start import etcd_tls, refuse_unsuitable
from evenshard.runtime.etcd_members import EtcdTls
from evenshard.runtime.settings import Settings


@pytest.mark.parametrize("version", ["3.5.0", "3.5.1", "3.5.2"])
def test_one_that_may_lose_data_is_refused_where_that_was_asked_for(version: str) -> None:
    refuse_unsuitable({"a:2379": version}, crash_safe=False)
    with pytest.raises(EvenshardError) as refused:
        refuse_unsuitable({"a:2379": "3.5.17", "b:2379": version}, crash_safe=True)
    assert (refused.value.code, refused.value.exit_status) == ("DIRECTORY_UNSUITABLE", 4)
    assert f"etcd at b:2379 is {version}, which can lose consistency" in refused.value.message
    assert refused.value.hint.startswith("run etcd 3.4.x, or 3.5.3 or newer")


def test_others_are_taken_if_not_too_old() -> None:
    for version in ("3.4.0", "3.4.23", "3.5.3", "3.6.5", "4.0.0-rc.1"):
        refuse_unsuitable({"a:2379": version}, crash_safe=True)
    refuse_unsuitable({}, crash_safe=True)
    with pytest.raises(EvenshardError, match=r"etcd at a:2379 is 3\.3\.27: older than 3\.4"):
        refuse_unsuitable({"a:2379": "3.3.27"}, crash_safe=False)


def test_certificates_are_as_set() -> None:
    assert etcd_tls(Settings()) is None
    assert etcd_tls(Settings(etcd_ca_file="/ca")) == EtcdTls(Path("/ca"))
    whole = Settings(etcd_ca_file="/ca", etcd_cert_file="/cert", etcd_key_file="/key")
    assert etcd_tls(whole) == EtcdTls(Path("/ca"), Path("/cert"), Path("/key"))
    with pytest.raises(EvenshardError, match="only one of etcd_cert_file and etcd_key_file is set"):
        etcd_tls(Settings(etcd_cert_file="/cert"))
