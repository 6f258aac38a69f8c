"""A hospital's own authority is trusted alike on every Python; its servers' names are checked."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from edge.trust import trusting


def test_names_are_checked_with_tls_1_2_or_later_and_no_rule_depends_on_the_python() -> None:
    context = trusting(None)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


def test_a_file_that_is_no_authority_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(OSError, match="certificate"):
        trusting(tmp_path / "ca.pem")
    with pytest.raises(FileNotFoundError):
        trusting(tmp_path / "none.pem")
